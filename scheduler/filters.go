package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

func yes() refusal { return refusal{} }

func final(reason string) refusal { return refusal{reasons: []string{reason}, final: true} }

func checkUnschedulable(p *pod, n *node) refusal {
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if n.Spec.Unschedulable && !tolerates(p.Spec.Tolerations, &cordon) {
		return final("node(s) were unschedulable")
	}
	return yes()
}

func checkTaints(p *pod, n *node) refusal {
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(p.Spec.Tolerations, t) {
			return final(fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value))
		}
	}
	return yes()
}

// tolerates compares, too, what a toleration gives as a number to compare with; validation says
// whether there may be such.
func tolerates(tolerations []corev1.Toleration, t *corev1.Taint) bool {
	return corev1helpers.TolerationsTolerateTaint(klog.Logger{}, tolerations, t, true)
}

// checkAffinity covers spec.nodeSelector and required node affinity. A term that cannot be parsed
// matches no node.
func checkAffinity(p *pod, n *node) refusal {
	if match, err := p.required.Match(n.Node); err != nil || !match {
		return final("node(s) didn't match Pod's node affinity/selector")
	}
	return yes()
}

func checkPorts(p *pod, n *node) refusal {
	for _, want := range p.ports {
		if slices.ContainsFunc(n.ports, want.conflicts) {
			return refusal{reasons: []string{"node(s) didn't have free ports for the requested pod ports"}}
		}
	}
	return yes()
}

// checkResources reports everything there is too little of. What is more than the whole node has
// will not fit when others leave.
func checkResources(p *pod, n *node) refusal {
	var r refusal
	if limit := n.allocatable[corev1.ResourcePods]; int64(len(n.pods))+1 > limit {
		r.reasons = append(r.reasons, "Too many pods")
		r.final = limit < 1
	}
	for name, want := range p.requests {
		if want > 0 && want > n.allocatable[name]-n.used[name] {
			r.reasons = append(r.reasons, "Insufficient "+string(name))
			r.final = r.final || want > n.allocatable[name]
		}
	}
	return r
}
