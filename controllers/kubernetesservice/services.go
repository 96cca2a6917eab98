package kubernetesservice

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/duetk8s/duet/clusterip"
)

const (
	serviceName = "kubernetes" // in namespace default, as are its Endpoints and EndpointSlice
	dnsName     = "kube-dns"   // in namespace kube-system
	portName    = "https"

	dnsOffset = 10 // of kube-dns in each range, by convention
)

// apiService is the Service default/kubernetes: single-stack, on the first address of the first
// range (A3.9).
func apiService(ranges []netip.Prefix, port int32) *corev1.Service {
	address := ranges[0].Masked().Addr().Next().String()
	policy := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, SessionAffinity: corev1.ServiceAffinityNone,
			ClusterIP: address, ClusterIPs: []string{address},
			IPFamilyPolicy: &policy, IPFamilies: families(ranges[:1]),
			Ports: []corev1.ServicePort{{
				Name: portName, Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(port),
			}},
		},
	}
}

// dnsService is the Service kube-system/kube-dns, on the tenth address of each range. Where a
// range has no tenth address, that one and those after it are left to allocation.
//
// It selects no Pods: the servers answer themselves and publish where (package dns).
func dnsService(ranges []netip.Prefix) *corev1.Service {
	policy := corev1.IPFamilyPolicySingleStack
	if len(ranges) > 1 {
		policy = corev1.IPFamilyPolicyPreferDualStack
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: dnsName, Namespace: metav1.NamespaceSystem,
			Labels: map[string]string{
				"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
			},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, SessionAffinity: corev1.ServiceAffinityNone,
			IPFamilyPolicy: &policy, IPFamilies: families(ranges),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "metrics", Protocol: corev1.ProtocolTCP, Port: 9153, TargetPort: intstr.FromInt32(9153)},
			},
		},
	}
	for _, r := range ranges {
		address, ok := tenth(r)
		if !ok {
			break
		}
		service.Spec.ClusterIPs = append(service.Spec.ClusterIPs, address.String())
	}
	if len(service.Spec.ClusterIPs) > 0 {
		service.Spec.ClusterIP = service.Spec.ClusterIPs[0]
	}
	return service
}

// widened is a Service that was made when the flags had one range, as it is to be now that they have
// two; nil if it is that already, or not as it was made.
func widened(stored, want *corev1.Service) *corev1.Service {
	had, has := &stored.Spec, &want.Spec
	single := had.IPFamilyPolicy != nil && *had.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack && len(had.IPFamilies) == 1 && len(had.ClusterIPs) == 1
	if !single || len(has.IPFamilies) < 2 || had.IPFamilies[0] != has.IPFamilies[0] || len(had.Selector) > 0 {
		return nil
	}
	if len(has.ClusterIPs) > 0 && had.ClusterIPs[0] != has.ClusterIPs[0] {
		return nil
	}
	next := stored.DeepCopy()
	next.Spec.IPFamilyPolicy, next.Spec.IPFamilies = has.IPFamilyPolicy, has.IPFamilies
	next.Spec.ClusterIPs = append(next.Spec.ClusterIPs, has.ClusterIPs[min(1, len(has.ClusterIPs)):]...)
	return next
}

// tenth returns the tenth address after the network address, if a Service can have it.
func tenth(r netip.Prefix) (netip.Addr, bool) {
	address := r.Masked().Addr()
	for range dnsOffset {
		address = address.Next()
	}
	return address, clusterip.Usable(r, address)
}

func families(ranges []netip.Prefix) []corev1.IPFamily {
	list := make([]corev1.IPFamily, len(ranges))
	for i, r := range ranges {
		list[i] = corev1.IPv6Protocol
		if r.Addr().Is4() {
			list[i] = corev1.IPv4Protocol
		}
	}
	return list
}
