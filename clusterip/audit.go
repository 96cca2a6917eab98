package clusterip

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/duetk8s/duet/dualstack"
)

// Cluster is everything that has to agree, read at one revision of etcd.
type Cluster struct {
	Services  []*corev1.Service
	Addresses []*networkingv1.IPAddress
	// Ports are the claims of node ports: number and the Service that holds it.
	Ports []PortClaim
	// Ranges are all ServiceCIDRs, ready or not.
	Ranges    []Range
	NodePorts PortRange
}

// PortClaim is one key under /duet/nodeports/. Service is "namespace/name", or empty if the claim
// does not say.
type PortClaim struct {
	Port    int32
	Service string
}

// Finding is a disagreement. Rule is the row of B7 or A9.9; Object is what an event about it would
// be attached to, for example "Service default/web" or "IPAddress 10.96.0.9"; Reason and Message
// are the event's.
type Finding struct{ Rule, Object, Reason, Message string }

// Audit compares Services with IPAddresses and claims of node ports and returns what disagrees, in
// a fixed order. Upstream repairs such things every three minutes (B7, A9.9); here a Service and
// its claims are one transaction, so the answer is empty unless somebody edited claims by hand or
// duet has a bug. There are no periods of grace for the same reason.
func Audit(c Cluster) []Finding {
	a := audit{
		Cluster:  c,
		services: make(map[string]*corev1.Service, len(c.Services)),
		byAddr:   make(map[netip.Addr]*networkingv1.IPAddress, len(c.Addresses)),
		byPort:   make(map[int32]PortClaim, len(c.Ports)),
		users:    make(map[int32]string),
	}
	for _, svc := range c.Services {
		a.services[key(svc.Namespace, svc.Name)] = svc
	}
	for _, ip := range c.Addresses {
		if addr, err := netip.ParseAddr(ip.Name); err == nil {
			a.byAddr[addr] = ip
		}
	}
	for _, claim := range c.Ports {
		a.byPort[claim.Port] = claim
	}
	for _, name := range slices.Sorted(maps.Keys(a.services)) {
		a.service(a.services[name])
	}
	for _, ip := range slices.SortedFunc(slices.Values(c.Addresses), func(x, y *networkingv1.IPAddress) int {
		return cmp.Compare(x.Name, y.Name)
	}) {
		a.address(ip)
	}
	for _, claim := range slices.SortedFunc(slices.Values(c.Ports), func(x, y PortClaim) int {
		return cmp.Compare(x.Port, y.Port)
	}) {
		a.claim(claim)
	}
	return a.findings
}

type audit struct {
	Cluster
	services map[string]*corev1.Service
	byAddr   map[netip.Addr]*networkingv1.IPAddress
	byPort   map[int32]PortClaim
	users    map[int32]string // node port → the first Service seen with it
	findings []Finding
}

func (a *audit) find(rule, object, reason, format string, args ...any) {
	a.findings = append(a.findings, Finding{rule, object, reason, fmt.Sprintf(format, args...)})
}

// service checks what svc holds against the claims.
func (a *audit) service(svc *corev1.Service) {
	if mayHaveAddresses(svc) && !headless(svc) {
		for _, ip := range svc.Spec.ClusterIPs {
			a.clusterIP(svc, ip)
		}
	}
	_, ports := Claims(svc)
	for _, port := range ports {
		a.nodePort(svc, port)
	}
}

// clusterIP is the Service side of B7.
func (a *audit) clusterIP(svc *corev1.Service, ip string) {
	name := key(svc.Namespace, svc.Name)
	object := "Service " + name
	addr, ok := parseAddr(ip)
	if !ok {
		a.find("B7.1", object, "ClusterIPNotValid", "Cluster IP %s is not a valid IP; please recreate Service", ip)
		return
	}
	family := dualstack.Of(addr)
	if !a.inRange(addr) {
		a.find("B7.2", object, "ClusterIPOutOfRange",
			"Cluster IP [%s]: %s is not within any configured Service CIDR; please recreate service", family, ip)
	}
	claim := a.byAddr[addr]
	if claim == nil {
		a.find("B7.3", object, "ClusterIPNotAllocated", "Cluster IP [%s]: %s is not allocated; repairing", family, ip)
		return
	}
	const wrong = "the ClusterIP [%s]: %s for Service %s has a wrong reference; repairing"
	owner, ok := serviceOf(claim)
	switch {
	case !ok:
		a.find("B7.4", object, "ClusterIPNotAllocated", wrong, family, ip, name)
	case owner == name:
		if claim.Labels[networkingv1.LabelManagedBy] != ManagedBy ||
			claim.Labels[networkingv1.LabelIPAddressFamily] != string(family) {
			a.find("B7.7", object, "", "IPAddress %s of Service %s lacks its labels", ip, name)
		}
	case a.lists(owner, addr):
		a.find("B7.6", object, "ClusterIPAlreadyAllocated",
			"Cluster IP [%s]:%s was assigned to multiple services; please recreate service", family, ip)
	default:
		a.find("B7.5", object, "ClusterIPNotAllocated", wrong, family, ip, name)
	}
}

// address is the IPAddress side of B7: only those that Services made.
func (a *audit) address(ip *networkingv1.IPAddress) {
	if ip.Labels[networkingv1.LabelManagedBy] != ManagedBy {
		return
	}
	object := "IPAddress " + ip.Name
	owner, ok := serviceOf(ip)
	if !ok {
		a.find("B7.9", object, "IPAddressNotAllocated",
			"IPAddress %s appears to have been modified, not referencing a Service %s: cleaning up",
			ip.Name, reference(ip.Spec.ParentRef))
		return
	}
	if a.services[owner] == nil {
		a.find("B7.10", object, "IPAddressNotAllocated",
			"IPAddress: %s for Service %s appears to have leaked: cleaning up", ip.Name, owner)
		return
	}
	if addr, err := netip.ParseAddr(ip.Name); err != nil || !a.lists(owner, addr) {
		a.find("B7.11", object, "IPAddressWrongReference",
			"IPAddress: %s for Service %s has a wrong reference; cleaning up", ip.Name, owner)
	}
}

// nodePort is the Service side of A9.9.
func (a *audit) nodePort(svc *corev1.Service, port int32) {
	name := key(svc.Namespace, svc.Name)
	object := "Service " + name
	if !a.NodePorts.Contains(port) {
		a.find("A9.9", object, "PortOutOfRange",
			"Port %d is not within the port range %s; please recreate service", port, a.NodePorts)
	}
	claim, claimed := a.byPort[port]
	first, used := a.users[port]
	switch {
	case used && first != name:
		a.find("A9.9", object, "PortAlreadyAllocated", "Port %d was assigned to multiple services; please recreate service", port)
	case !claimed || claim.Service != "" && claim.Service != name:
		a.find("A9.9", object, "PortNotAllocated", "Port %d is not allocated; repairing", port)
	}
	if !used {
		a.users[port] = name
	}
}

// claim finds node ports that no Service holds. It runs after all Services were seen.
func (a *audit) claim(c PortClaim) {
	if _, used := a.users[c.Port]; !used {
		a.find("A9.9", fmt.Sprintf("node port %d", c.Port), "PortLeaked", "Port %d is claimed by no Service", c.Port)
	}
}

// inRange reports whether some range, ready or not, contains addr.
func (a *audit) inRange(addr netip.Addr) bool {
	for _, r := range a.Ranges {
		for _, prefix := range r.Prefixes {
			if sp, ok := addressSpan(prefix); ok && sp.contains(numberOf(addr)) {
				return true
			}
		}
	}
	return false
}

// lists reports whether the Service of that name holds addr.
func (a *audit) lists(name string, addr netip.Addr) bool { return holds(a.services[name], addr) }

// serviceOf returns "namespace/name" of the Service that ip belongs to, or false if it belongs to
// something else.
func serviceOf(ip *networkingv1.IPAddress) (string, bool) {
	ref := ip.Spec.ParentRef
	if ref == nil || ref.Group != "" || ref.Resource != "services" {
		return "", false
	}
	return key(ref.Namespace, ref.Name), true
}

// reference renders ref as `kubectl get ipaddress` does (B8.2).
func reference(ref *networkingv1.ParentReference) string {
	if ref == nil {
		return "<none>"
	}
	text := ref.Resource
	if ref.Group != "" {
		text += "." + ref.Group
	}
	if ref.Namespace != "" {
		text += "/" + ref.Namespace
	}
	return text + "/" + ref.Name
}

func key(namespace, name string) string { return namespace + "/" + name }
