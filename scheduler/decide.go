package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// decision is what is to become of a Pod: a node, or why there is none and what could change that.
type decision struct {
	node    *node
	message string
	helps   change
}

// decide finds the best node for a Pod. Of nodes that are equally good, turn says whose turn it is.
// It changes nothing.
func (f profile) decide(p *pod, nodes []*node, turn int) decision {
	if len(nodes) == 0 {
		return decision{message: "no nodes available to schedule pods", helps: nodeAdded}
	}
	fits := make([]*node, 0, len(nodes))
	refusals := make([]refusal, len(nodes))
	helps := nodeAdded
	for i, n := range nodes {
		var by change
		if refusals[i], by = f.filter(p, n); len(refusals[i].reasons) == 0 {
			fits = append(fits, n)
		}
		helps |= by
	}
	if len(fits) > 0 {
		return decision{node: f.best(p, fits, turn)}
	}
	var message strings.Builder
	message.WriteString(unavailable(refusals))
	for _, r := range f.rescues {
		if said := r.apply(p, nodes, refusals); said != "" {
			message.WriteString(" " + said)
		}
	}
	return decision{message: message.String(), helps: helps}
}

// filter returns what the first filter says that refuses, and which changes could help against it.
func (f profile) filter(p *pod, n *node) (refusal, change) {
	for _, filter := range f.filters {
		if r := filter.check(p, n); len(r.reasons) > 0 {
			return r, filter.helps
		}
	}
	return refusal{}, 0
}

// best returns one of the nodes with the highest sum of scores.
func (f profile) best(p *pod, nodes []*node, turn int) *node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	sums := make([]int64, len(nodes))
	for _, s := range f.scores {
		for i, rating := range s.rate(p, nodes) {
			sums[i] += s.weight * rating
		}
	}
	highest := slices.Max(sums)
	var equal []*node
	for i, n := range nodes {
		if sums[i] == highest {
			equal = append(equal, n)
		}
	}
	return equal[turn%len(equal)]
}

// unavailable counts reasons: "0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods."
func unavailable(refusals []refusal) string {
	counts := map[string]int{}
	for _, r := range refusals {
		for _, reason := range r.reasons {
			counts[reason]++
		}
	}
	lines := make([]string, 0, len(counts))
	for reason := range maps.Keys(counts) {
		lines = append(lines, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	slices.Sort(lines)
	return fmt.Sprintf("0/%d nodes are available: %s.", len(refusals), strings.Join(lines, ", "))
}

// noPreemption stands where preemption will: it says on how many nodes that could be of use, and
// evicts nobody.
func noPreemption(p *pod, _ []*node, refusals []refusal) string {
	if policy := p.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		return "preemption: not eligible due to preemptionPolicy=Never."
	}
	said := make([]refusal, len(refusals))
	for i, r := range refusals {
		said[i].reasons = []string{"No preemption victims found for incoming pod"}
		if r.final {
			said[i].reasons = []string{"Preemption is not helpful for scheduling"}
		}
	}
	return "preemption: " + unavailable(said)
}
