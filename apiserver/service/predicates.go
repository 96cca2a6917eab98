package service

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	netutils "k8s.io/utils/net"
)

// headless services have the one cluster IP "None".
func headless(svc *corev1.Service) bool {
	return len(svc.Spec.ClusterIPs) == 1 && svc.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// externalName services have no addresses, families or policy (A3.7).
func externalName(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeExternalName
}

// loadBalancer services are the only ones with a class, source ranges and a status (A5.12-A5.14).
func loadBalancer(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// hasNodePorts says whether the type opens ports on nodes.
func hasNodePorts(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || loadBalancer(svc)
}

// hasInternalTraffic services have an internal traffic policy (A1.7, A5.17).
func hasInternalTraffic(svc *corev1.Service) bool {
	return types.Has(svc.Spec.Type) && !externalName(svc)
}

// externallyAccessible services have an external traffic policy (A1.6, A5.15).
func externallyAccessible(svc *corev1.Service) bool {
	return hasNodePorts(svc) ||
		svc.Spec.Type == corev1.ServiceTypeClusterIP && len(svc.Spec.ExternalIPs) > 0
}

// needsHealthCheck services have a health-check node port (A5.16).
func needsHealthCheck(svc *corev1.Service) bool {
	return loadBalancer(svc) && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// parseIP reads an address as the legacy fields always have: octets may have leading zeros, and
// an IPv4-mapped IPv6 address counts as IPv4 (0.9). Such values live on in stored objects.
func parseIP(text string) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	return addr.Unmap(), ok
}

// family of an address as text, "" if it is none.
func family(text string) corev1.IPFamily {
	addr, ok := parseIP(text)
	switch {
	case !ok:
		return ""
	case addr.Is4():
		return corev1.IPv4Protocol
	default:
		return corev1.IPv6Protocol
	}
}
