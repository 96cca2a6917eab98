// Package fit says whether a Pod can run on a node: whether there is room for what it asks for,
// whether its host ports are free, whether it selects the node, whether it tolerates the node's
// taints. The scheduler asks before it binds a Pod, the node when it sees one that is bound to it:
// one rule for both, so that the one never sends what the other refuses.
//
// It is pure. It chooses no node, and has no words for what does not fit: those are the askers'.
//
// Concurrency: none of its own; a Room belongs to one goroutine at a time.
package fit

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Pod is what a Pod needs of a node, worked out once.
type Pod struct {
	Requests Amounts
	Ports    []HostPort
	affinity nodeaffinity.RequiredNodeAffinity
}

// Of a Pod. It is not kept.
func Of(pod *corev1.Pod) Pod {
	return Pod{
		Requests: AmountsOf(resource.PodRequests(pod, resource.PodResourcesOptions{})),
		Ports:    hostPorts(&pod.Spec), affinity: nodeaffinity.GetRequiredNodeAffinity(pod),
	}
}

// Selects covers spec.nodeSelector and required node affinity. A term that cannot be parsed matches
// no node.
func (p *Pod) Selects(node *corev1.Node) bool {
	match, err := p.affinity.Match(node)
	return err == nil && match
}

// Tolerates compares, too, what a toleration gives as a number to compare with; validation says
// whether there may be such.
func Tolerates(tolerations []corev1.Toleration, t *corev1.Taint) bool {
	return corev1helpers.TolerationsTolerateTaint(klog.Logger{}, tolerations, t, true)
}

// Untolerated is the first taint of one of the effects that is not tolerated; nil if there is none.
func Untolerated(taints []corev1.Taint, tolerations []corev1.Toleration, effects ...corev1.TaintEffect) *corev1.Taint {
	for i := range taints {
		if t := &taints[i]; slices.Contains(effects, t.Effect) && !Tolerates(tolerations, t) {
			return t
		}
	}
	return nil
}

// Room is what a node has, and what Pods have taken of it.
type Room struct {
	// Allocatable of the node: replaced when that changes.
	Allocatable Amounts
	// Used by its Pods.
	Used  Amounts
	Pods  int64
	Ports []HostPort
}

// Add has a Pod take its part.
func (r *Room) Add(p *Pod) {
	if r.Used == nil {
		r.Used = Amounts{}
	}
	r.Used.Add(p.Requests, 1)
	r.Pods++
	r.Ports = append(r.Ports, p.Ports...)
}

// Remove has a Pod that was added give its part back.
func (r *Room) Remove(p *Pod) {
	r.Used.Add(p.Requests, -1)
	r.Pods--
	for _, port := range p.Ports {
		if at := slices.Index(r.Ports, port); at >= 0 {
			r.Ports = slices.Delete(r.Ports, at, at+1)
		}
	}
}

// Shortage is one resource of which a Pod asks for more than there is left: CPU in thousandths, all
// else in its unit.
type Shortage struct {
	Resource                  corev1.ResourceName
	Requested, Used, Capacity int64
}

// Final shortages remain when all other Pods leave.
func (s Shortage) Final() bool { return s.Requested > s.Capacity }

// Short is everything there is too little of for one more Pod: the number of Pods first, then CPU,
// memory, storage, then other resources by name.
func (r *Room) Short(p *Pod) []Shortage {
	var all []Shortage
	if r.Pods+1 > r.Allocatable[corev1.ResourcePods] {
		all = append(all, Shortage{corev1.ResourcePods, 1, r.Pods, r.Allocatable[corev1.ResourcePods]})
	}
	for name, want := range p.Requests {
		if want > 0 && want > r.Allocatable[name]-r.Used[name] {
			all = append(all, Shortage{name, want, r.Used[name], r.Allocatable[name]})
		}
	}
	slices.SortFunc(all, func(a, b Shortage) int {
		return cmp.Or(cmp.Compare(rank(a.Resource), rank(b.Resource)), cmp.Compare(a.Resource, b.Resource))
	})
	return all
}

func rank(name corev1.ResourceName) int {
	known := []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	if at := slices.Index(known, name); at >= 0 {
		return at
	}
	return len(known)
}

// PortTaken tells whether another Pod has a port of the node that this one wants.
func (r *Room) PortTaken(p *Pod) bool {
	return slices.ContainsFunc(p.Ports, func(want HostPort) bool { return slices.ContainsFunc(r.Ports, want.Conflicts) })
}
