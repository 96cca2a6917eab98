package newpod

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// patience is how many seconds a Pod stays on a node that has failed, unless it says otherwise.
const patience = 300

// Tolerations lets a new Pod stay for five minutes on a node that is not ready or cannot be reached.
type Tolerations struct{}

var _ admission.MutationInterface = Tolerations{}

// Handles tells that new Pods are of interest.
func (Tolerations) Handles(op admission.Operation) bool { return op == admission.Create }

// Admit adds a toleration for either taint that the Pod says nothing about.
func (Tolerations) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !speaksOf(pod.Spec.Tolerations, key) {
			seconds := int64(patience)
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
			})
		}
	}
	return nil
}

func speaksOf(tolerations []corev1.Toleration, key string) bool {
	for _, t := range tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
