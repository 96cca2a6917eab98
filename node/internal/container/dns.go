package container

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/dualstack"
)

// What resolvers take of a resolv.conf.
const (
	maxNameservers  = 3
	maxSearches     = 32
	maxSearchLength = 2048
)

// dnsConfig makes the Pod's resolv.conf from its dnsPolicy and dnsConfig (D3.9).
func dnsConfig(in SandboxInput) (*runtimeapi.DNSConfig, []Warning) {
	pod := in.Pod
	var warnings []Warning
	policy := pod.Spec.DNSPolicy
	switch {
	case policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork:
		policy = corev1.DNSDefault
	case (policy == corev1.DNSClusterFirst || policy == corev1.DNSClusterFirstWithHostNet) && len(in.ClusterDNS) == 0:
		policy = corev1.DNSDefault
		warnings = append(warnings, Warning{"MissingClusterDNS", fmt.Sprintf(
			`pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to "Default" policy.`,
			pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")", pod.Spec.DNSPolicy)})
	}
	out := &runtimeapi.DNSConfig{}
	switch policy {
	case corev1.DNSNone:
	case corev1.DNSDefault:
		out = parseResolvConf(in.ResolvConf)
		if len(in.ResolvConf) == 0 {
			out.Servers = loopbacks(in.HostIPs)
		}
	default: // ClusterFirst, also ClusterFirstWithHostNet and what an old object leaves empty
		for _, addr := range in.ClusterDNS {
			out.Servers = append(out.Servers, addr.String())
		}
		if domain := in.ClusterDomain; domain != "" {
			out.Searches = []string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}
		}
		out.Searches = distinct(append(out.Searches, parseResolvConf(in.ResolvConf).Searches...))
		out.Options = []string{"ndots:5"}
	}
	merge(out, pod.Spec.DNSConfig)
	return limit(out, warnings)
}

// merge adds what the Pod asks for. An option that is there already is replaced.
func merge(to *runtimeapi.DNSConfig, more *corev1.PodDNSConfig) {
	if more == nil {
		return
	}
	to.Servers = distinct(append(to.Servers, more.Nameservers...))
	to.Searches = distinct(append(to.Searches, more.Searches...))
	for _, o := range more.Options {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		same := func(old string) bool { name, _, _ := strings.Cut(old, ":"); return name == o.Name }
		if i := slices.IndexFunc(to.Options, same); i >= 0 {
			to.Options[i] = text
		} else {
			to.Options = append(to.Options, text)
		}
	}
}

// limit leaves out what resolvers would, and says so.
func limit(c *runtimeapi.DNSConfig, warnings []Warning) (*runtimeapi.DNSConfig, []Warning) {
	const reason = "DNSConfigForming"
	if len(c.Servers) > maxNameservers {
		c.Servers = c.Servers[:maxNameservers]
		warnings = append(warnings, Warning{reason, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: " + strings.Join(c.Servers, " ")})
	}
	fits, length := 0, -1
	for fits < len(c.Searches) && fits < maxSearches && length+1+len(c.Searches[fits]) <= maxSearchLength {
		length += 1 + len(c.Searches[fits])
		fits++
	}
	if fits < len(c.Searches) {
		c.Searches = c.Searches[:fits]
		warnings = append(warnings, Warning{reason, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(c.Searches, " ")})
	}
	return c, warnings
}

// parseResolvConf reads a resolv.conf as resolvers do: of several search lines the last counts.
func parseResolvConf(text []byte) *runtimeapi.DNSConfig {
	out := &runtimeapi.DNSConfig{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], ";") {
			continue
		}
		switch words[0] {
		case "nameserver":
			out.Servers = append(out.Servers, words[1])
		case "search", "domain":
			out.Searches = nil
			for _, domain := range words[1:] {
				if domain != "." {
					domain = strings.TrimSuffix(domain, ".")
				}
				out.Searches = append(out.Searches, domain)
			}
		case "options":
			out.Options = distinct(append(out.Options, words[1:]...))
		}
	}
	return out
}

// loopbacks is a resolver on the node itself in each of its families, in their order.
func loopbacks(ips []netip.Addr) []string {
	var out []string
	for _, ip := range ips {
		if dualstack.Of(ip) == dualstack.IPv4 {
			out = append(out, "127.0.0.1")
		} else {
			out = append(out, netip.IPv6Loopback().String())
		}
	}
	return distinct(out)
}

// distinct keeps the first of each.
func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
