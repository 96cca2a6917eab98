package newpod

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// NewNodes keeps Pods away from a new Node until it is known to be ready; the controller nodelifecycle
// takes the taint away.
type NewNodes struct{}

var _ admission.MutationInterface = NewNodes{}

// Handles tells that new Nodes are of interest.
func (NewNodes) Handles(op admission.Operation) bool { return op == admission.Create }

// Admit adds the taint.
func (NewNodes) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, ok := a.GetObject().(*corev1.Node)
	if !ok || a.GetSubresource() != "" {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		node.Spec.Taints = append(node.Spec.Taints, taint)
	}
	return nil
}
