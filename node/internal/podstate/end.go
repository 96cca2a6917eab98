package podstate

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// defaultGrace is what a Pod has that says nothing.
const defaultGrace = 30 * time.Second

// grace that containers are given to end.
func (p *plan) grace() time.Duration {
	switch {
	case p.pod.DeletionGracePeriodSeconds != nil && (p.pod.DeletionTimestamp != nil || p.o.Gone):
		// Deletion by force takes the Pod from the API at once; its processes get a second.
		return max(seconds(*p.pod.DeletionGracePeriodSeconds), time.Second)
	case p.pod.Spec.TerminationGracePeriodSeconds != nil:
		return seconds(*p.pod.Spec.TerminationGracePeriodSeconds)
	}
	return defaultGrace
}

// completed tells whether no container will run again by itself.
func (p *plan) completed() bool {
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		known := p.o.Containers[c.Name]
		if !p.initialized && !sidecar(c) && !known.Start.Busy && known.Current != nil && known.Current.State == Exited &&
			known.Current.ExitCode != 0 && !restarts(p.pod, c, known.Current) {
			return true
		}
	}
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		known := p.o.Containers[c.Name]
		if known.Start.Busy || known.Current == nil || known.Current.State != Exited || restarts(p.pod, c, known.Current) {
			return false
		}
	}
	return true
}

// end brings a Pod further that is to be down: regular containers at once, then sidecars one by one
// from the last, then all else.
func (p *plan) end() {
	since := p.o.EndingSince
	if since.IsZero() {
		since = p.o.Now
	}
	deadline := since.Add(p.grace())
	left := false
	for i := range p.pod.Spec.InitContainers {
		if c := &p.pod.Spec.InitContainers[i]; !sidecar(c) {
			left = p.stop(c, deadline) || left
		}
	}
	for i := range p.pod.Spec.Containers {
		left = p.stop(&p.pod.Spec.Containers[i], deadline) || left
	}
	for _, c := range slices.Backward(p.pod.Spec.InitContainers) {
		if !left && sidecar(&c) {
			left = p.stop(&c, deadline)
		}
	}
	if left || p.o.Volumes.Busy || p.o.Sandbox.Busy || p.o.Cleanup.Busy || p.o.Removal.Busy {
		return
	}
	p.clean()
}

// stop ends a container; true while there is something left of it.
func (p *plan) stop(c *corev1.Container, deadline time.Time) bool {
	known := p.o.Containers[c.Name]
	if known.Start.Busy || known.Image.Busy {
		p.do(Action{Do: CancelStart, Container: c.Name})
		if !known.Current.Alive() {
			return true
		}
	}
	if !known.Current.Alive() {
		return false
	}
	// A second before the deadline under way is no reason to begin again.
	if known.Stopping && !deadline.Before(known.StopDeadline.Add(-time.Second)) {
		return true
	}
	p.do(Action{Do: StopContainer, Container: c.Name, Deadline: deadline, Hooks: !known.Stopping, Message: "Stopping container " + c.Name})
	return true
}

// clean gives back what an ended Pod holds, and what it leaves when it is deleted.
func (p *plan) clean() {
	if p.o.Gone || p.pod.DeletionTimestamp != nil {
		p.Finished = p.o.Removal.Done
		p.step(p.o.Removal, Remove)
		return
	}
	p.step(p.o.Cleanup, Cleanup)
}

// step does what has not been done yet.
func (p *plan) step(s Step, do Do) {
	if !s.Done && !s.Busy && p.due(s.Failed) {
		p.do(Action{Do: do})
	}
}
