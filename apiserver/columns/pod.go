package columns

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/duetk8s/duet/apiserver/resource"
)

// Pod prints NAME READY STATUS RESTARTS AGE, wide IP NODE NOMINATED NODE READINESS GATES. IP is the
// first of status.podIPs (D3.7).
func Pod() *resource.Columns {
	return table(
		defs(text("Ready"), text("Status"), text("Restarts"), ageColumn(),
			wide("IP"), wide("Node"), wide("Nominated Node"), wide("Readiness Gates")),
		func(p *corev1.Pod) []any {
			s := summarise(p)
			ip := none
			if len(p.Status.PodIPs) > 0 {
				ip = p.Status.PodIPs[0].IP
			}
			return []any{
				p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.status, s.restartsCell(), age(&p.ObjectMeta),
				ip, or(p.Spec.NodeName, none), or(p.Status.NominatedNodeName, none), readinessGates(p),
			}
		})
}

// podSummary condenses a Pod's containers into the cells people watch.
type podSummary struct {
	ready, total int
	status       string
	restarts     int
	lastRestart  metav1.Time
}

// summarise decides STATUS. Later rules win over earlier ones: phase, status.reason, scheduling
// gates, the first init container that is not done, the regular containers (first one last, so
// that it wins), deletion.
func summarise(p *corev1.Pod) podSummary {
	s := podSummary{total: len(p.Spec.Containers), status: string(p.Status.Phase)}
	s.status = or(p.Status.Reason, s.status)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.status = corev1.PodReasonSchedulingGated
		}
	}
	sidecars, initializing := s.initContainers(p)
	if !initializing || conditionTrue(p, corev1.PodInitialized) {
		// From here on restarts of init containers that ran once no longer count.
		s.restarts, s.lastRestart = sidecars.restarts, sidecars.lastRestart
		s.regularContainers(p)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		s.status = string(corev1.PodUnknown)
	case p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded:
		s.status = "Terminating"
	}
	return s
}

// initContainers accounts for init containers up to the first that is not done, and reports
// whether there is one. Restartable ones (sidecars) count as containers of their own.
func (s *podSummary) initContainers(p *corev1.Pod) (sidecars podSummary, initializing bool) {
	restartable := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			restartable[c.Name] = true
			s.total++
		}
	}
	for i, c := range p.Status.InitContainerStatuses {
		s.restarted(c)
		if restartable[c.Name] {
			sidecars.restarted(c)
		}
		t := c.State.Terminated
		switch {
		case t != nil && t.ExitCode == 0:
			continue
		case restartable[c.Name] && deref(c.Started):
			if c.Ready {
				s.ready++
			}
			continue
		case t != nil:
			s.status = "Init:" + or(t.Reason, exit(t))
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.status = "Init:" + c.State.Waiting.Reason
		default:
			s.status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return sidecars, true
	}
	return sidecars, false
}

func (s *podSummary) regularContainers(p *corev1.Pod) {
	running := false
	for _, c := range slices.Backward(p.Status.ContainerStatuses) {
		s.restarted(c)
		switch w, t := c.State.Waiting, c.State.Terminated; {
		case w != nil && w.Reason != "":
			s.status = w.Reason
		case t != nil:
			s.status = or(t.Reason, exit(t))
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	// One container finished while others go on: the Pod is not completed.
	if s.status == "Completed" && running {
		s.status = "NotReady"
		if conditionTrue(p, corev1.PodReady) {
			s.status = string(corev1.PodRunning)
		}
	}
}

func (s *podSummary) restarted(c corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// restartsCell is "3 (5m12s ago)", or the bare number when the time is not known.
func (s *podSummary) restartsCell() string {
	if s.restarts == 0 || s.lastRestart.IsZero() {
		return fmt.Sprint(s.restarts)
	}
	return fmt.Sprintf("%d (%s ago)", s.restarts, since(s.lastRestart.Time))
}

// exit names an end without a reason, "Signal:9" or "ExitCode:1".
func exit(t *corev1.ContainerStateTerminated) string {
	if t.Signal != 0 {
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func conditionTrue(p *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}

// readinessGates is "1/2": gates that are true out of those asked for.
func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	passed := 0
	for _, g := range p.Spec.ReadinessGates {
		if conditionTrue(p, g.ConditionType) {
			passed++
		}
	}
	return fmt.Sprintf("%d/%d", passed, len(p.Spec.ReadinessGates))
}

// PodTemplate prints NAME CONTAINERS IMAGES POD LABELS.
func PodTemplate() *resource.Columns {
	return table(
		defs(text("Containers"), text("Images"), text("Pod Labels")),
		func(t *corev1.PodTemplate) []any {
			names, images := containers(&t.Template.Spec)
			return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
		})
}
