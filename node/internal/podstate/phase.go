package podstate

import (
	corev1 "k8s.io/api/core/v1"
)

// phase sums up what the containers' statuses say. A Pod that has ended never comes back.
func (p *plan) phase(s *corev1.PodStatus) corev1.PodPhase {
	if Over(p.pod.Status.Phase) {
		return p.pod.Status.Phase
	}
	if p.alive() {
		return p.livePhase(s)
	}
	if p.verdict != nil {
		return corev1.PodFailed
	}
	if p.Ending {
		return p.endPhase(s)
	}
	return p.livePhase(s)
}

// alive tells whether any container may have processes.
func (p *plan) alive() bool {
	for _, c := range p.o.Containers {
		if c.Current.Alive() || c.Start.Busy {
			return true
		}
	}
	return false
}

// livePhase: Pending until every regular container was started once and all init containers are
// through, Running from then on, whatever becomes of them.
func (p *plan) livePhase(s *corev1.PodStatus) corev1.PodPhase {
	if !p.initialized && !p.ranBefore(s) {
		return corev1.PodPending
	}
	for _, c := range s.ContainerStatuses {
		if c.State.Waiting != nil && c.LastTerminationState.Terminated == nil {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

// ranBefore: a Pod that lost its sandbox initialises anew, and is Pending meanwhile only if nothing
// of it had run.
func (p *plan) ranBefore(s *corev1.PodStatus) bool {
	for _, c := range s.ContainerStatuses {
		if c.State.Waiting != nil && c.LastTerminationState.Terminated == nil {
			return false
		}
	}
	return p.pod.Status.Phase == corev1.PodRunning
}

// endPhase of a Pod with nothing left that runs: it succeeded if all that ran did. One that never
// got so far as to run stays Pending: it is being deleted.
func (p *plan) endPhase(s *corev1.PodStatus) corev1.PodPhase {
	ended, failed := 0, false
	for i, c := range s.InitContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 && !sidecar(&p.pod.Spec.InitContainers[i]) {
			failed = true
		}
	}
	for _, c := range s.ContainerStatuses {
		t := c.State.Terminated
		if t == nil {
			t = c.LastTerminationState.Terminated
		}
		if t != nil {
			ended++
			failed = failed || t.ExitCode != 0
		}
	}
	switch {
	case failed:
		return corev1.PodFailed
	case ended == len(s.ContainerStatuses):
		return corev1.PodSucceeded
	case ended == 0:
		return corev1.PodPending
	}
	return corev1.PodFailed
}
