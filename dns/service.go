package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// service is one with what the names below it stand for.
type service struct {
	*corev1.Service
	from Source
}

// endpoint that is ready, in one family.
type endpoint struct {
	name  string // its label below the Service's name
	addr  netip.Addr
	ports []discoveryv1.EndpointPort
}

// find looks up what is in front of the Service's name: nothing, an endpoint, or _port._protocol.
func (s service) find(labels []string) *found {
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		if len(labels) > 0 {
			return nil
		}
		return &found{alias: dns.Fqdn(s.Spec.ExternalName)}
	case len(labels) == 0 && !headless:
		return &found{addrs: s.addresses()}
	case len(labels) == 0:
		return named(s.endpoints(), "")
	case len(labels) == 1 && strings.HasPrefix(labels[0], "_"):
		return s.between(labels[0][1:], headless)
	case len(labels) == 1:
		return named(s.endpoints(), labels[0])
	case len(labels) == 2 && strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		return s.port(labels[0][1:], labels[1][1:], headless)
	}
	return nil
}

// addresses of the Service itself.
func (s service) addresses() (out []netip.Addr) {
	for _, text := range s.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// endpoints that are ready, which the controller also calls those of a Service that publishes others
// (D5.2), of the families that the Service has.
func (s service) endpoints() (out []endpoint) {
	for _, slice := range s.from.Slices(s.Namespace, s.Name) {
		out = append(out, s.within(slice)...)
	}
	return out
}

// within are those of one slice.
func (s service) within(slice *discoveryv1.EndpointSlice) (out []endpoint) {
	if !s.has(slice.AddressType) {
		return nil
	}
	for _, e := range slice.Endpoints {
		if ready := e.Conditions.Ready; len(e.Addresses) == 0 || ready != nil && !*ready {
			continue
		}
		addr, err := netip.ParseAddr(e.Addresses[0])
		if err != nil {
			continue // a name
		}
		name := dashed(addr)
		if e.Hostname != nil && *e.Hostname != "" {
			name = *e.Hostname
		}
		out = append(out, endpoint{name, addr, slice.Ports})
	}
	return out
}

func (s service) has(family discoveryv1.AddressType) bool {
	for _, f := range s.Spec.IPFamilies {
		if string(f) == string(family) {
			return true
		}
	}
	return len(s.Spec.IPFamilies) == 0
}

// named returns the addresses of the endpoints with a name, "" for all; nil if there are none.
func named(all []endpoint, name string) *found {
	f, had := &found{}, map[netip.Addr]bool{} // slices with other ports may have the same address
	for _, e := range all {
		if (name == "" || e.name == name) && !had[e.addr] {
			had[e.addr] = true
			f.addrs = append(f.addrs, e.addr)
		}
	}
	if len(f.addrs) == 0 {
		return nil
	}
	return f
}

// port returns the targets of a named port (D5.3): the Service, or each endpoint if it is headless.
func (s service) port(name, protocol string, headless bool) *found {
	f, self := &found{}, serviceName(s.Namespace, s.Name)
	if !headless {
		for _, p := range s.Spec.Ports {
			if p.Name == name && name != "" && strings.EqualFold(string(p.Protocol), protocol) {
				f.ports = append(f.ports, target{self, uint16(p.Port), s.addresses()})
			}
		}
	} else {
		at := map[portOf]int{}
		for _, e := range s.endpoints() {
			for _, p := range e.ports {
				if p.Name == nil || *p.Name != name || name == "" || p.Port == nil || p.Protocol == nil || !strings.EqualFold(string(*p.Protocol), protocol) {
					continue
				}
				// Both families of a Pod with a host name are one target.
				key := portOf{e.name, uint16(*p.Port)}
				if i, ok := at[key]; ok {
					f.ports[i].addrs = append(f.ports[i].addrs, e.addr)
					continue
				}
				at[key] = len(f.ports)
				f.ports = append(f.ports, target{e.name + "." + self, key.port, []netip.Addr{e.addr}})
			}
		}
	}
	if len(f.ports) == 0 {
		return nil
	}
	return f
}

// between is _protocol, which has no records and is there if a port is below it (RFC 8020).
func (s service) between(protocol string, headless bool) *found {
	for _, p := range s.Spec.Ports {
		if s.port(p.Name, protocol, headless) != nil {
			return &found{}
		}
	}
	return nil
}

type portOf struct {
	name string
	port uint16
}

// dashed is the label of an endpoint without a host name: 10-244-0-3, 2001-db8--1.
func dashed(addr netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
}

// podAddress reads the label of a Pod's name (D5.4): with three dashes, no two of them together, it
// is an IPv4 address.
func podAddress(label string) (netip.Addr, bool) {
	mark := ":"
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		mark = "."
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", mark))
	return addr, err == nil && !addr.Is4In6() && addr.Zone() == ""
}
