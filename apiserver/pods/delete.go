package pods

import corev1 "k8s.io/api/core/v1"

// Grace is how many seconds a Pod has between its deletion and its end: what the deletion asks for,
// else what the Pod does. A Pod that no node runs has none: there is nobody to wait for.
func Grace(pod *corev1.Pod, asked *int64) int64 {
	done := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if pod.Spec.NodeName == "" || done {
		return 0
	}
	var period int64
	switch {
	case asked != nil:
		period = *asked
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		period = *pod.Spec.TerminationGracePeriodSeconds
	}
	if period < 0 {
		return 1
	}
	return period
}
