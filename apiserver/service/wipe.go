package service

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
)

// wipe clears the fields of svc that an update made meaningless and that the client may not even
// know of, because the server had filled them in (A6.4). A field that the client changed in the
// same update stays, for validation to refuse. Addresses and ports that vanish here are released
// by storage, which compares what the old and the new object hold.
func wipe(svc, old *corev1.Service) {
	wipeAddresses(svc, old)
	spec, before := &svc.Spec, &old.Spec
	if hasNodePorts(old) && !hasNodePorts(svc) && nodePorts(old).IsSuperset(nodePorts(svc)) {
		for i := range spec.Ports {
			spec.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheck(old) && !needsHealthCheck(svc) && spec.HealthCheckNodePort == before.HealthCheckNodePort {
		spec.HealthCheckNodePort = 0
	}
	if loadBalancer(old) && !loadBalancer(svc) {
		if ptr.Equal(spec.AllocateLoadBalancerNodePorts, before.AllocateLoadBalancerNodePorts) {
			spec.AllocateLoadBalancerNodePorts = nil
		}
		if ptr.Equal(spec.LoadBalancerClass, before.LoadBalancerClass) {
			spec.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(svc) && spec.ExternalTrafficPolicy == before.ExternalTrafficPolicy {
		spec.ExternalTrafficPolicy = ""
	}
	if !loadBalancer(svc) {
		svc.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

// wipeAddresses clears, on a change to ExternalName, each of the address fields that is unchanged.
func wipeAddresses(svc, old *corev1.Service) {
	if externalName(old) || !externalName(svc) {
		return
	}
	spec, before := &svc.Spec, &old.Spec
	if spec.ClusterIP == before.ClusterIP && slices.Equal(spec.ClusterIPs, before.ClusterIPs) {
		spec.ClusterIP, spec.ClusterIPs = "", nil
	}
	if slices.Equal(spec.IPFamilies, before.IPFamilies) {
		spec.IPFamilies = nil
	}
	if ptr.Equal(spec.IPFamilyPolicy, before.IPFamilyPolicy) {
		spec.IPFamilyPolicy = nil
	}
}

// nodePorts is the set of node ports that svc names, without the health-check port.
func nodePorts(svc *corev1.Service) sets.Set[int32] {
	ports := sets.New[int32]()
	for i := range svc.Spec.Ports {
		if port := svc.Spec.Ports[i].NodePort; port != 0 {
			ports.Insert(port)
		}
	}
	return ports
}
