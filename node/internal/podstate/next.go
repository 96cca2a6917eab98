package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// plan is a decision in the making.
type plan struct {
	pod *corev1.Pod
	o   Observed
	Decision
	// waiting is why a container is not there, by name.
	waiting map[string]corev1.ContainerStateWaiting
	// sandboxWanted: some container could start if there was one.
	sandboxWanted bool
	// initialized: regular containers may start.
	initialized bool
	// verdict about a Pod that failed as a whole; nil if it did not.
	verdict *Failure
}

// Next decides about a Pod.
func Next(pod *corev1.Pod, o Observed) Decision {
	p := &plan{pod: pod, o: o, waiting: map[string]corev1.ContainerStateWaiting{}, verdict: o.Rejected}
	p.initialized = p.isInitialized()
	if p.verdict == nil {
		p.verdict = p.deadline()
	}
	switch {
	case Over(pod.Status.Phase) || o.Gone || pod.DeletionTimestamp != nil || p.verdict != nil || p.completed():
		p.Ending = true
		p.end()
	default:
		p.run()
	}
	p.Status = p.status()
	return p.Decision
}

// Over tells whether a phase is a Pod's last: nothing of it runs any more, or ever will.
func Over(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// deadline is the verdict about a Pod that has been active for too long.
func (p *plan) deadline() *Failure {
	if p.pod.Spec.ActiveDeadlineSeconds == nil || p.pod.Status.StartTime == nil || Over(p.pod.Status.Phase) {
		return nil
	}
	at := p.pod.Status.StartTime.Add(seconds(*p.pod.Spec.ActiveDeadlineSeconds))
	if p.o.Now.Before(at) {
		p.wake(at)
		return nil
	}
	return &Failure{Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline", At: at}
}

// run brings a Pod further that is to be up.
func (p *plan) run() {
	p.step(p.o.Volumes, SetupVolumes)
	if p.sandboxDied() {
		return
	}
	if p.initContainers() {
		p.regularContainers()
	}
	p.sandbox()
}

// sandboxDied has what is left of a sandbox that is not ready killed; true: that comes first.
func (p *plan) sandboxDied() bool {
	s := p.o.Sandbox
	if s.ID == "" || s.Ready || s.Busy {
		return false
	}
	alive := false
	for _, c := range p.o.Containers {
		alive = alive || c.Current.Alive()
	}
	if alive && p.due(s.Failed) {
		p.do(Action{Do: StopSandbox})
	}
	return alive
}

// sandbox makes one if it is needed.
func (p *plan) sandbox() {
	s := p.o.Sandbox
	if !p.sandboxWanted || s.Ready || s.Busy || !p.due(s.Failed) {
		return
	}
	attempt := uint32(0)
	if s.ID != "" {
		attempt = s.Attempt + 1
	}
	p.do(Action{Do: CreateSandbox, Attempt: attempt})
}

// isInitialized tells whether all that comes before the regular containers has been done in this
// sandbox. A regular container in it is proof enough: what initialised it may be long removed.
func (p *plan) isInitialized() bool {
	for _, c := range p.pod.Spec.Containers {
		if p.here(p.o.Containers[c.Name].Current) {
			return true
		}
	}
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		known := p.o.Containers[c.Name]
		if !p.here(known.Current) {
			return false
		}
		if sidecar(c) {
			if known.Current.State != Running || !known.Started {
				return false
			}
		} else if known.Current.State != Exited || known.Current.ExitCode != 0 {
			return false
		}
	}
	return true
}

// here tells whether an instance belongs to the present sandbox.
func (p *plan) here(i *Instance) bool {
	return i != nil && i.Sandbox != "" && i.Sandbox == p.o.Sandbox.ID
}

// initContainers starts them one after the other, and keeps sidecars up; true when regular
// containers may start.
func (p *plan) initContainers() bool {
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		known := p.o.Containers[c.Name]
		switch {
		case sidecar(c):
			p.keep(c, false)
			if !p.initialized && (!p.here(known.Current) || known.Current.State != Running || !known.Started) {
				return false
			}
		case p.initialized:
		case known.Start.Busy || known.Current.Alive():
			return false
		case p.here(known.Current) && known.Current.State == Exited && known.Current.ExitCode == 0:
		default:
			p.start(c, false)
			return false
		}
	}
	return true
}

// regularContainers keeps them up. They start in the order of the spec, each when the one before
// has been started with its postStart hook.
func (p *plan) regularContainers() {
	blocked := false
	for i := range p.pod.Spec.Containers {
		blocked = p.keep(&p.pod.Spec.Containers[i], blocked) || blocked
	}
}

// keep has a container run: started if it does not, stopped if it must not go on as it is. It
// tells whether a start is under way; blocked prepares one only.
func (p *plan) keep(c *corev1.Container, blocked bool) bool {
	known := p.o.Containers[c.Name]
	switch i := known.Current; {
	case known.Start.Busy:
		return true
	case i.Alive():
		p.check(c, known)
		return false
	case i != nil && i.State == Exited && !restarts(p.pod, c, i):
		return false
	}
	return p.start(c, blocked)
}

// check stops an instance that its probes or a changed spec condemn.
func (p *plan) check(c *corev1.Container, known Container) {
	if known.Stopping {
		return
	}
	stop := Action{Do: StopContainer, Container: c.Name, Hooks: true, Deadline: p.o.Now.Add(p.grace())}
	switch u := known.Unhealthy; {
	case known.Current.State == Unknown:
		stop.Message = "Container is in unknown state, try killing it before restart"
	case u != nil:
		stop.Message = "Container " + c.Name + " failed " + u.Probe + " probe, will be restarted"
		if u.Grace != nil {
			stop.Deadline = p.o.Now.Add(seconds(*u.Grace))
		}
	case known.Current.Hash != "" && known.Current.Hash != Hash(c):
		stop.Message = "Container " + c.Name + " definition changed, will be restarted"
	default:
		return
	}
	p.do(stop)
}

// start brings a container nearer to its next instance; it tells whether that is being started.
func (p *plan) start(c *corev1.Container, blocked bool) bool {
	known := p.o.Containers[c.Name]
	next := Action{Do: StartContainer, Container: c.Name}
	if i := known.Current; i != nil {
		next.Attempt = i.Attempt + 1
		if until := known.Backoff.until(i.FinishedAt); p.o.Now.Before(until) {
			p.wake(until)
			p.crashed(c, known)
			return false
		}
		next.Backoff = known.Backoff.next(p.o.Now, i.FinishedAt)
	}
	if f := known.Start.Failed; f != nil {
		p.waiting[c.Name] = corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
		// An instance that came to be and failed is waited for by its back-off.
		if known.Current == nil || known.Current.FinishedAt.Before(f.At) {
			if !p.due(f) {
				return false
			}
		}
	}
	p.sandboxWanted = true
	if !p.image(c, known.Image) || blocked || !p.o.Sandbox.Ready || p.o.Sandbox.Busy || !p.o.Volumes.Done {
		return false
	}
	p.do(next)
	return true
}

// crashed says that a container waits, and shortly before that, what for.
func (p *plan) crashed(c *corev1.Container, known Container) {
	if f := known.Start.Failed; f != nil && p.o.Now.Before(f.At.Add(fresh)) {
		p.wake(f.At.Add(fresh))
		p.waiting[c.Name] = corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
		return
	}
	p.waiting[c.Name] = corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: "back-off " + known.Backoff.Delay.String() + " restarting failed container=" + c.Name + " pod=" + Name(p.pod),
	}
}

// image has a container's image pulled if need be; true when it is there.
func (p *plan) image(c *corev1.Container, image Step) bool {
	f := image.Failed
	switch {
	case image.Done:
		return true
	case image.Busy:
	case f == nil || !p.o.Now.Before(f.pullAt()):
		p.do(Action{Do: PullImage, Container: c.Name})
	default:
		p.wake(f.pullAt())
	}
	if f == nil {
		return false
	}
	shown := corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
	if pulled(f.Reason) {
		if p.o.Now.Before(f.At.Add(fresh)) {
			p.wake(f.At.Add(fresh))
		} else {
			shown = corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image \"" + c.Image + "\": " + f.Reason + ": " + f.Message}
		}
	}
	p.waiting[c.Name] = shown
	return false
}

// pulled tells whether a failure is one of pulling: those wait longer each time.
func pulled(reason string) bool {
	return reason != "ErrImageNeverPull" && reason != "InvalidImageName"
}

// due tells whether a step that failed may be tried again, and if not, asks to be woken then.
func (p *plan) due(f *Failure) bool {
	if f == nil || !p.o.Now.Before(f.retryAt()) {
		return true
	}
	p.wake(f.retryAt())
	return false
}

func (p *plan) do(a Action) { p.Actions = append(p.Actions, a) }

func (p *plan) wake(at time.Time) {
	if p.Wake.IsZero() || at.Before(p.Wake) {
		p.Wake = at
	}
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
