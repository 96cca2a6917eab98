package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// The trees of names of addresses.
const (
	treeIPv4 = "in-addr.arpa."
	treeIPv6 = "ip6.arpa."
)

func treeOf(addr netip.Addr) string {
	if addr.Is4() {
		return treeIPv4
	}
	return treeIPv6
}

// reverse answers which names an address has.
func (z Zone) reverse(q dns.Question, addr netip.Addr, from Source) Answer {
	var names []string
	if svc := from.ServiceAt(addr); svc != nil {
		names = append(names, serviceName(svc.Namespace, svc.Name))
	}
	for _, slice := range from.SlicesAt(addr) {
		svc := from.Service(slice.Namespace, slice.Labels[discoveryv1.LabelServiceName])
		if svc == nil || svc.Spec.ClusterIP != corev1.ClusterIPNone {
			continue
		}
		for _, e := range (service{svc, from}).within(slice) {
			if name := e.name + "." + serviceName(svc.Namespace, svc.Name); e.addr == addr && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	a, tree := Answer{Ours: true}, treeOf(addr)
	switch ours := z.hasAddress(addr, from); {
	case len(names) == 0 && !ours:
		return Answer{}
	case len(names) == 0:
		return a.no(dns.RcodeNameError, tree)
	case q.Qtype != dns.TypePTR && q.Qtype != dns.TypeANY:
		return a.no(dns.RcodeSuccess, tree)
	}
	for _, n := range names {
		a.Answers = append(a.Answers, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: n + "." + z.Name})
	}
	return a
}

// hasAddress tells whether an address is one of the cluster's, given to somebody or not.
func (z Zone) hasAddress(addr netip.Addr, from Source) bool {
	return slices.ContainsFunc(z.Ranges, func(p netip.Prefix) bool { return p.Contains(addr) }) || from.InRange(addr)
}

// parseReverse reads a name such as 10.0.96.10.in-addr.arpa. of a whole address.
func parseReverse(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, "."+treeIPv4); ok {
		labels := strings.Split(rest, ".")
		if len(labels) != 4 {
			return netip.Addr{}, false
		}
		addr, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		return addr, err == nil
	}
	rest, ok := strings.CutSuffix(name, "."+treeIPv6)
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var b strings.Builder
	for i := 62; i >= 0; i -= 2 {
		if i < 62 && rest[i+1] != '.' {
			return netip.Addr{}, false
		}
		b.WriteByte(rest[i])
		if n := (64 - i) / 2; n%4 == 0 && n < 32 {
			b.WriteByte(':')
		}
	}
	addr, err := netip.ParseAddr(b.String())
	return addr, err == nil && addr.Is6()
}
