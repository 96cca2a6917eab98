package scheduler

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/fit"
)

func yes() refusal { return refusal{} }

func final(reason string) refusal { return refusal{reasons: []string{reason}, final: true} }

func checkUnschedulable(p *pod, n *node) refusal {
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if n.Spec.Unschedulable && !fit.Tolerates(p.Spec.Tolerations, &cordon) {
		return final("node(s) were unschedulable")
	}
	return yes()
}

func checkTaints(p *pod, n *node) refusal {
	if t := fit.Untolerated(n.Spec.Taints, p.Spec.Tolerations, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute); t != nil {
		return final(fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value))
	}
	return yes()
}

func checkAffinity(p *pod, n *node) refusal {
	if !p.needs.Selects(n.Node) {
		return final("node(s) didn't match Pod's node affinity/selector")
	}
	return yes()
}

func checkPorts(p *pod, n *node) refusal {
	if n.room.PortTaken(&p.needs) {
		return refusal{reasons: []string{"node(s) didn't have free ports for the requested pod ports"}}
	}
	return yes()
}

// checkResources reports everything there is too little of. What is more than the whole node has
// will not fit when others leave.
func checkResources(p *pod, n *node) refusal {
	var r refusal
	for _, s := range n.room.Short(&p.needs) {
		reason := "Insufficient " + string(s.Resource)
		if s.Resource == corev1.ResourcePods {
			reason = "Too many pods"
		}
		r.reasons = append(r.reasons, reason)
		r.final = r.final || s.Final()
	}
	return r
}
