package health

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/proxy"
)

// Check is what a node answers at a Service's health-check port. The zero value is none.
type Check struct {
	Port uint16
	// Local is how many ready endpoints the node has in each family that the port is open in.
	Local map[dualstack.Family]int
}

// Wanted decides: a Service has a check if it is the proxy's business and has a port for it, in the
// families of its ClusterIPs. An endpoint that is about to end is not ready, even if it is the last one
// and still gets traffic: the load balancer is to turn away.
func Wanted(svc *corev1.Service, list []*discoveryv1.EndpointSlice, node string) Check {
	if svc == nil || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.HealthCheckNodePort == 0 ||
		svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return Check{}
	}
	c := Check{Port: uint16(svc.Spec.HealthCheckNodePort), Local: map[dualstack.Family]int{}} //nolint:gosec // validated by the API
	for _, p := range proxy.Ports(svc, nil, node) {
		c.Local[p.Family] = 0
	}
	if len(c.Local) == 0 {
		return Check{}
	}
	seen := map[netip.Addr]bool{}
	for _, s := range list {
		for _, e := range s.Endpoints {
			if e.NodeName == nil || *e.NodeName != node || e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
				continue
			}
			a, err := netip.ParseAddr(e.Addresses[0])
			if _, open := c.Local[dualstack.Family(s.AddressType)]; err != nil || !open || seen[a] {
				continue
			}
			seen[a] = true
			c.Local[dualstack.Family(s.AddressType)]++
		}
	}
	return c
}
