package clusterip

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Claims returns what a stored Service holds, each once: its cluster addresses, and its node ports
// with the one for health checks. Whoever writes the Service writes the keys of what it holds now
// and did not before, and deletes those of what it held and does not any more, in one transaction.
//
// A node port on a type that has none is not a claim: upstream stores one on an ExternalName
// Service without allocating it (A5.9). Nor is an address that does not parse.
func Claims(svc *corev1.Service) (addrs []netip.Addr, ports []int32) {
	if mayHaveAddresses(svc) && !headless(svc) {
		addrs = make([]netip.Addr, 0, 2)
		for _, ip := range svc.Spec.ClusterIPs {
			if addr, ok := parseAddr(ip); ok && !slices.Contains(addrs, addr) {
				addrs = append(addrs, addr)
			}
		}
		if len(svc.Spec.ClusterIPs) == 0 {
			if addr, ok := parseAddr(svc.Spec.ClusterIP); ok { // stored before there was a list
				addrs = append(addrs, addr)
			}
		}
	}
	ports = nodePorts(svc)
	if n := svc.Spec.HealthCheckNodePort; wantsHealthCheckPort(svc) && n != 0 && !slices.Contains(ports, n) {
		ports = append(ports, n)
	}
	return addrs, ports
}

// nodePorts returns the node ports that the ports of svc hold, each once.
func nodePorts(svc *corev1.Service) []int32 {
	if !mayHaveNodePorts(svc) {
		return nil
	}
	var numbers []int32
	for i := range svc.Spec.Ports {
		if n := svc.Spec.Ports[i].NodePort; n != 0 && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
