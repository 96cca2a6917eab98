package podstate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditions sets those that a node owns and leaves the others. Their order is that of kubectl
// describe.
func (p *plan) conditions(s *corev1.PodStatus) {
	containers := p.containersReady(s)
	own := []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: truth(p.o.Sandbox.Ready && len(s.PodIPs) > 0)},
		p.initializedCondition(s),
		p.readyCondition(s, containers),
		containers,
	}
	var all []corev1.PodCondition
	for _, c := range own {
		c.ObservedGeneration = p.pod.Generation
		c.LastTransitionTime = metav1.NewTime(p.o.Now)
		if before := condition(s, c.Type); before != nil {
			c.LastProbeTime = before.LastProbeTime
			if before.Status == c.Status {
				c.LastTransitionTime = before.LastTransitionTime
			}
		}
		all = append(all, c)
	}
	for _, c := range s.Conditions {
		if !slices.ContainsFunc(own, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
			if c.Type == corev1.PodScheduled {
				c.ObservedGeneration = max(c.ObservedGeneration, p.pod.Generation)
			}
			all = append(all, c)
		}
	}
	s.Conditions = all
}

func condition(s *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	if i := slices.IndexFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == t }); i >= 0 {
		return &s.Conditions[i]
	}
	return nil
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func (p *plan) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	if p.initialized {
		return c
	}
	var incomplete []string
	for i, status := range s.InitContainerStatuses {
		done := status.State.Terminated != nil && status.State.Terminated.ExitCode == 0
		if sidecar(&p.pod.Spec.InitContainers[i]) {
			done = status.Started != nil && *status.Started
		}
		if !done {
			incomplete = append(incomplete, status.Name)
		}
	}
	if len(incomplete) > 0 {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

// containersReady: all containers that are to run are ready.
func (p *plan) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for i, status := range s.InitContainerStatuses {
		if sidecar(&p.pod.Spec.InitContainers[i]) && !status.Ready {
			unready = append(unready, status.Name)
		}
	}
	for _, spec := range p.pod.Spec.Containers {
		i := slices.IndexFunc(s.ContainerStatuses, func(status corev1.ContainerStatus) bool { return status.Name == spec.Name })
		if !s.ContainerStatuses[i].Ready {
			unready = append(unready, spec.Name)
		}
	}
	if len(unready) > 0 {
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// readyCondition: the containers are, and so are the gates that the Pod names.
func (p *plan) readyCondition(s *corev1.PodStatus, containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range p.pod.Spec.ReadinessGates {
		switch found := condition(s, gate.ConditionType); {
		case found == nil:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case found.Status != corev1.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %s", gate.ConditionType, found.Status))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}
