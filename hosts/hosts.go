// Package hosts decides what a Pod's /etc/hosts says, byte for byte (behaviour.md, section C).
//
// [For] and [ForHostNetwork] read a Pod and say what goes into its file, [Render] makes the bytes,
// [Lost] tells which lines somebody added by hand and will miss after the next write. All of it is
// pure: who reads, writes and mounts the file is the node agent's business, and so is when (C4).
//
// # Guarantees
//
// Every line that Render adds to what the node's file says is a comment, empty, or one address
// followed by its names. A name or address that would break out of its line or begin a comment is
// left out, however it got past the API's validation.
package hosts

import (
	"bytes"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// boilerplate comes first in the file of every Pod that has a network of its own, whatever families
// it has (C1.2). The fe00:: lines name no real multicast groups and separate names by a space in one
// line only: programs compare the file, so both stay (C1.1, F18).
const boilerplate = "# Kubernetes-managed hosts file.\n" +
	"127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::0\tip6-localnet\n" +
	"fe00::0\tip6-mcastprefix\n" +
	"fe00::1\tip6-allnodes\n" +
	"fe00::2\tip6-allrouters\n"

// hostNetworkHeader must not begin with the first line of boilerplate up to its dot: that is how
// the conformance test tells a managed file (C2.2).
const hostNetworkHeader = "# Kubernetes-managed hosts file (host network).\n"

const aliasHeader = "\n# Entries added by HostAliases.\n"

// maxName is the longest host name that a Pod gets, the length of a DNS label (C3.1).
const maxName = 63

// File is what one Pod's hosts file says. Order is kept everywhere.
type File struct {
	// HostNetwork: the Pod shares its node's network, and the file begins with Node instead of the
	// boilerplate and the Pod's own lines (C2.1).
	HostNetwork bool
	Node        []byte

	Addrs   []netip.Addr // the Pod's own, one line each (C1.3)
	Host    string       // what the own lines call the Pod, one DNS label or a hostnameOverride
	Domain  string       // "" unless the Pod has a subdomain (C3.1)
	Aliases []corev1.HostAlias
}

// For says what goes into the file of a Pod with a network of its own, whose addresses are ips.
func For(pod *corev1.Pod, ips []netip.Addr, clusterDomain string) File {
	host, domain := Name(pod, clusterDomain)
	return File{Addrs: ips, Host: host, Domain: domain, Aliases: pod.Spec.HostAliases}
}

// ForHostNetwork says what goes into the file of a Pod on its node's network; node is the content
// of the node's own /etc/hosts.
func ForHostNetwork(pod *corev1.Pod, node []byte) File {
	return File{HostNetwork: true, Node: node, Aliases: pod.Spec.HostAliases}
}

// Name returns what a Pod is called: its host name, and the domain below which DNS knows it, "" if
// it has none. hostnameOverride wins over hostname and subdomain and has no domain (C3.3).
// setHostnameAsFQDN changes nothing here: it is about the kernel's host name alone (C3.2).
func Name(pod *corev1.Pod, clusterDomain string) (host, domain string) {
	spec := &pod.Spec
	switch {
	case spec.HostnameOverride != nil:
		return cut(*spec.HostnameOverride), ""
	case spec.Hostname != "":
		host = cut(spec.Hostname)
	default:
		host = cut(pod.Name)
	}
	if spec.Subdomain != "" {
		domain = spec.Subdomain + "." + pod.Namespace + ".svc." + clusterDomain
	}
	return host, domain
}

// cut shortens a name to what the kernel and DNS take, and to where a name may end (C3.1).
func cut(name string) string {
	if len(name) <= maxName {
		return name
	}
	return strings.TrimRight(name[:maxName], "-.")
}

// Render returns the file's bytes.
func Render(f File) []byte {
	var b bytes.Buffer
	b.Grow(size(f))
	if f.HostNetwork {
		b.WriteString(hostNetworkHeader)
		b.Write(f.Node)
	} else {
		b.WriteString(boilerplate)
		names := []string{f.Host}
		if f.Domain != "" {
			names = []string{f.Host + "." + f.Domain, f.Host}
		}
		for _, addr := range f.Addrs {
			line(&b, addr.String(), names)
		}
	}
	if len(f.Aliases) > 0 {
		b.WriteString(aliasHeader)
		for i := range f.Aliases {
			line(&b, f.Aliases[i].IP, f.Aliases[i].Hostnames)
		}
	}
	return b.Bytes()
}

// line writes `10.1.2.3<TAB>foo.remote<TAB>bar.remote`. The address is written as it was given
// (C1.4), without names there is still a TAB behind it.
func line(b *bytes.Buffer, ip string, names []string) {
	if !isWord(ip) {
		return
	}
	b.WriteString(ip)
	b.WriteByte('\t')
	first := true
	for _, name := range names {
		if !isWord(name) {
			continue
		}
		if !first {
			b.WriteByte('\t')
		}
		b.WriteString(name)
		first = false
	}
	b.WriteByte('\n')
}

// isWord reports whether s is read back as one word of a hosts file: not empty, visible ASCII, no
// beginning of a comment.
func isWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '#' {
			return false
		}
	}
	return s != ""
}

// size is about how long the file gets.
func size(f File) int {
	n := len(boilerplate) + len(aliasHeader) + len(f.Node) + len(f.Addrs)*(len(f.Host)*2+len(f.Domain)+48)
	for i := range f.Aliases {
		n += len(f.Aliases[i].IP) + 2
		for _, name := range f.Aliases[i].Hostnames {
			n += len(name) + 1
		}
	}
	return n
}
