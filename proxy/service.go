package proxy

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/duetk8s/duet/dualstack"
)

// Labels that take a Service out of this proxy's hands (D6.10).
const (
	labelProxyName = "service.kubernetes.io/service-proxy-name"
	labelHeadless  = corev1.IsHeadlessService
)

// Port is one port of a Service in one family: where it is to be reached, and what answers.
type Port struct {
	Family   dualstack.Family
	Name     string
	Protocol uint8 // an IP protocol number

	ClusterIP netip.Addr
	External  []netip.Addr // externalIPs
	Balancers []netip.Addr // addresses of load balancers that nodes answer for
	Port      uint16       // at all of the above
	NodePort  uint16       // at all of the node's addresses; 0: none

	// All endpoints that may be used, and those on this node (D6.5).
	All, Local []netip.AddrPort
	// OnNode are the endpoints' addresses that are this node's Pods, whether used or not.
	OnNode []netip.Addr
	// InternalLocal and ExternalLocal: connections to the ClusterIP, or from outside to any of the
	// other addresses, use local endpoints only.
	InternalLocal, ExternalLocal bool
	// Sticky is for how many seconds a client stays with its endpoint; 0: not at all.
	Sticky uint32
	// Sources that may use the load balancer's addresses, if Restricted.
	Sources    []netip.Prefix
	Restricted bool
}

// Ports decides what a node does for a Service: one entry for each port and family that the Service
// has a ClusterIP in, none for a Service that is not the proxy's business. Slices are those of the
// Service in both families.
func Ports(svc *corev1.Service, slices []*discoveryv1.EndpointSlice, node string) []Port {
	if !proxied(svc) {
		return nil
	}
	var out []Port
	for _, text := range clusterIPs(svc) {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		for _, p := range svc.Spec.Ports {
			if number := protocol(p.Protocol); number != 0 {
				out = append(out, port(svc, p, number, ip.Unmap(), slices, node))
			}
		}
	}
	return out
}

// proxied tells whether a Service is this proxy's business (D6.10).
func proxied(svc *corev1.Service) bool {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return false
	}
	for _, label := range []string{labelProxyName, labelHeadless} {
		if _, ok := svc.Labels[label]; ok {
			return false
		}
	}
	return true
}

func clusterIPs(svc *corev1.Service) []string {
	if len(svc.Spec.ClusterIPs) > 0 {
		return svc.Spec.ClusterIPs
	}
	return []string{svc.Spec.ClusterIP}
}

func protocol(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolTCP, "":
		return unix.IPPROTO_TCP
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP
	}
	return 0
}

func port(svc *corev1.Service, p corev1.ServicePort, number uint8, ip netip.Addr, list []*discoveryv1.EndpointSlice, node string) Port {
	f := dualstack.Of(ip)
	out := Port{
		Family: f, Name: p.Name, Protocol: number, ClusterIP: ip,
		Port: uint16(p.Port), NodePort: uint16(p.NodePort), //nolint:gosec // validated by the API
		External:      addresses(f, svc.Spec.ExternalIPs),
		InternalLocal: svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal: svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	if svc.Spec.Type == corev1.ServiceTypeClusterIP {
		out.NodePort = 0
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, in := range svc.Status.LoadBalancer.Ingress {
			if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP { // D7.3
				out.Balancers = append(out.Balancers, addresses(f, []string{in.IP})...)
			}
		}
		out.Sources, out.Restricted = sources(f, svc.Spec.LoadBalancerSourceRanges)
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Sticky = uint32(corev1.DefaultClientIPServiceAffinitySeconds)
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.Sticky = uint32(*c.ClientIP.TimeoutSeconds) //nolint:gosec // validated by the API
		}
	}
	out.endpoints(p, list, node)
	return out
}

// addresses keeps those of a family, each once.
func addresses(f dualstack.Family, list []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range list {
		if a, err := netip.ParseAddr(text); err == nil && dualstack.Of(a) == f && !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// sources keeps the ranges of a family. Ranges of the other family alone restrict nothing here.
func sources(f dualstack.Family, list []string) (out []netip.Prefix, restricted bool) {
	for _, text := range list {
		if p, err := netip.ParsePrefix(text); err == nil && dualstack.OfPrefix(p) == f {
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	out = slices.Compact(out)
	return out, len(out) > 0
}

// endpoints chooses who answers: those that are ready, or, if none is, those that still serve though
// they are about to end; decided apart for the whole cluster and for this node (D6.5).
func (p *Port) endpoints(of corev1.ServicePort, list []*discoveryv1.EndpointSlice, node string) {
	var ready, ending, localReady, localEnding []netip.AddrPort
	for _, s := range list {
		number := portOf(s, of)
		if number == 0 || dualstack.Family(s.AddressType) != p.Family {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			a, err := netip.ParseAddr(e.Addresses[0])
			if err != nil || dualstack.Of(a) != p.Family {
				continue
			}
			at, local := netip.AddrPortFrom(a.Unmap(), number), e.NodeName != nil && *e.NodeName == node
			if local {
				p.OnNode = append(p.OnNode, at.Addr())
			}
			switch c := e.Conditions; {
			case yes(c.Ready, true):
				ready = append(ready, at)
				if local {
					localReady = append(localReady, at)
				}
			case yes(c.Serving, yes(c.Ready, true)) && yes(c.Terminating, false):
				ending = append(ending, at)
				if local {
					localEnding = append(localEnding, at)
				}
			}
		}
	}
	p.All, p.Local = either(ready, ending), either(localReady, localEnding)
	slices.SortFunc(p.OnNode, netip.Addr.Compare)
	p.OnNode = slices.Compact(p.OnNode)
}

// portOf returns the number that a Service's port has in a slice, 0 if it is not there.
func portOf(s *discoveryv1.EndpointSlice, of corev1.ServicePort) uint16 {
	for _, p := range s.Ports {
		name, kind := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			kind = *p.Protocol
		}
		if name == of.Name && kind == cmp.Or(of.Protocol, corev1.ProtocolTCP) && p.Port != nil {
			return uint16(*p.Port) //nolint:gosec // validated by the API
		}
	}
	return 0
}

func yes(condition *bool, unset bool) bool {
	if condition == nil {
		return unset
	}
	return *condition
}

// either returns the first list unless it is empty, in order and without doubles.
func either(first, second []netip.AddrPort) []netip.AddrPort {
	if len(first) == 0 {
		first = second
	}
	slices.SortFunc(first, netip.AddrPort.Compare)
	return slices.Compact(first)
}
