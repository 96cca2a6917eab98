package announce

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/loadbalancer"
)

// Claim is what is to be answered for because of a Service.
type Claim struct {
	Service types.UID
	// Addresses with ipMode VIP, given by package loadbalancer.
	Addresses []netip.Addr
	// Local: only nodes with an endpoint may answer, by family; in order.
	Local bool
	Nodes map[dualstack.Family][]string
}

// ClaimOf reads it from a Service and its slices; ok is false if there is nothing to answer for.
func ClaimOf(svc *corev1.Service, list []*discoveryv1.EndpointSlice) (c Claim, ok bool) {
	if svc == nil || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || meta.FindStatusCondition(svc.Status.Conditions, loadbalancer.Condition) == nil {
		return c, false
	}
	c.Service = svc.UID
	for _, in := range svc.Status.LoadBalancer.Ingress {
		a, err := netip.ParseAddr(in.IP)
		if err == nil && in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeVIP {
			c.Addresses = append(c.Addresses, a)
		}
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		c.Local, c.Nodes = true, endpointNodes(list)
	}
	return c, len(c.Addresses) > 0
}

// endpointNodes are the nodes with ready endpoints; if there are none, those with endpoints that still
// serve though they are about to end (D6.5).
func endpointNodes(list []*discoveryv1.EndpointSlice) map[dualstack.Family][]string {
	type set = map[string]bool
	ready, ending := map[dualstack.Family]set{}, map[dualstack.Family]set{}
	put := func(to map[dualstack.Family]set, f dualstack.Family, node string) {
		if to[f] == nil {
			to[f] = set{}
		}
		to[f][node] = true
	}
	for _, s := range list {
		f := dualstack.Family(s.AddressType)
		for _, e := range s.Endpoints {
			switch c := e.Conditions; {
			case e.NodeName == nil:
			case c.Ready == nil || *c.Ready:
				put(ready, f, *e.NodeName)
			case c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating:
				put(ending, f, *e.NodeName)
			}
		}
	}
	out := map[dualstack.Family][]string{}
	for _, f := range dualstack.Families() {
		nodes := ready[f]
		if len(nodes) == 0 {
			nodes = ending[f]
		}
		if len(nodes) > 0 {
			out[f] = slices.Sorted(maps.Keys(nodes))
		}
	}
	return out
}

// among keeps the stations that may answer for an address of a family.
func (c Claim) among(list []Station, f dualstack.Family) []Station {
	if !c.Local {
		return list
	}
	var out []Station
	for _, s := range list {
		if slices.Contains(c.Nodes[f], s.Node) {
			out = append(out, s)
		}
	}
	return out
}
