package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/fit"
)

// rateTaints prefers nodes with the fewest taints of effect PreferNoSchedule that the Pod does not
// tolerate.
func rateTaints(p *pod, nodes []*node) []int64 {
	return fewest(nodes, func(n *node) int64 {
		var count int64
		for i := range n.Spec.Taints {
			if t := &n.Spec.Taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !fit.Tolerates(p.Spec.Tolerations, t) {
				count++
			}
		}
		return count
	})
}

// rateAffinity prefers the nodes that match the most of preferred node affinity, by weight.
func rateAffinity(p *pod, nodes []*node) []int64 {
	out := make([]int64, len(nodes))
	if p.preferred == nil {
		return out
	}
	for i, n := range nodes {
		out[i] = p.preferred.Score(n.Node)
	}
	if most := slices.Max(out); most > 0 {
		for i := range out {
			out[i] = out[i] * maxScore / most
		}
	}
	return out
}

// rateSpread prefers nodes with the fewest Pods of the same owner: they are not to die together, and
// traffic is to be spread. A Pod on its own goes where there is the most room.
func rateSpread(p *pod, nodes []*node) []int64 {
	if p.group == "" {
		return make([]int64, len(nodes))
	}
	return fewest(nodes, func(n *node) int64 { return int64(n.groups[p.group]) })
}

// rateLeastAllocated prefers nodes of whose CPU and memory the largest part stays free.
func rateLeastAllocated(p *pod, nodes []*node) []int64 {
	out := make([]int64, len(nodes))
	for i, n := range nodes {
		var sum, kinds int64
		for name, want := range p.expected {
			all := n.room.Allocatable[name]
			if all <= 0 {
				continue
			}
			kinds++
			sum += max(0, all-n.expected[name]-want) * maxScore / all
		}
		if kinds > 0 {
			out[i] = sum / kinds
		}
	}
	return out
}

// fewest rates the nodes by a count: the lower, the better.
func fewest(nodes []*node, count func(*node) int64) []int64 {
	out := make([]int64, len(nodes))
	for i, n := range nodes {
		out[i] = count(n)
	}
	most := slices.Max(out)
	for i := range out {
		if most == 0 {
			out[i] = maxScore
		} else {
			out[i] = (most - out[i]) * maxScore / most
		}
	}
	return out
}
