package podstate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// pod with containers a and b, before changes.
func pod(changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u", Generation: 3},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{{Name: "a", Image: "i"}, {Name: "b", Image: "i"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, StartTime: &metav1.Time{Time: now.Add(-time.Minute)}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func policy(policy corev1.RestartPolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.RestartPolicy = policy }
}

func deleted(p *corev1.Pod) {
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(30 * time.Second)}, new(int64(30))
}

func inits(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, name := range names {
			c := corev1.Container{Name: name, Image: "i"}
			if strings.HasPrefix(name, "side") {
				c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
			}
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		}
	}
}

// up is a node on which sandbox s1 and the volumes are there, before changes.
func up(changes ...func(*Observed)) Observed {
	o := Observed{
		Now: now, HostIPs: []netip.Addr{netip.MustParseAddr("172.30.0.3"), netip.MustParseAddr("fd00::3")},
		Volumes: Step{Done: true}, Sandbox: Sandbox{ID: "s1", Ready: true, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00:1::2")}},
		Containers: map[string]Container{},
	}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func with(name string, c Container) func(*Observed) {
	return func(o *Observed) { o.Containers[name] = c }
}

var has = Step{Done: true}

func running(ready bool) Container {
	return Container{Started: true, Ready: ready, Current: &Instance{ID: "id", Sandbox: "s1", State: Running, StartedAt: now.Add(-10 * time.Second)}}
}

func exited(code int32) Container {
	i := &Instance{ID: "id", Sandbox: "s1", State: Exited, ExitCode: code, Reason: "Error", FinishedAt: now.Add(-time.Second)}
	if code == 0 {
		i.Reason = "Completed"
	}
	return Container{Current: i, Image: has}
}

func change(c Container, f func(*Container)) Container { f(&c); return c }

// told is a decision as text: actions, what kubectl shows, when to wake.
func told(d Decision) string {
	var all []string
	for _, a := range d.Actions {
		text := a.Do.String()
		if a.Container != "" {
			text += " " + a.Container
		}
		if a.Attempt > 0 {
			text += fmt.Sprintf(" #%d", a.Attempt)
		}
		if a.Backoff.Delay > 0 {
			text += " next " + a.Backoff.Delay.String()
		}
		if !a.Deadline.IsZero() {
			text += " by " + a.Deadline.Sub(now).String()
		}
		all = append(all, text)
	}
	if d.Finished {
		all = append(all, "finished")
	}
	all = append(all, "= "+string(d.Status.Phase))
	for _, s := range slices.Concat(d.Status.InitContainerStatuses, d.Status.ContainerStatuses) {
		text := s.Name + ":"
		switch {
		case s.State.Waiting != nil:
			text += s.State.Waiting.Reason
		case s.State.Running != nil:
			text += "Running"
		case s.State.Terminated != nil:
			text += fmt.Sprintf("%s(%d)", s.State.Terminated.Reason, s.State.Terminated.ExitCode)
		}
		if s.Ready {
			text += "+"
		}
		all = append(all, text)
	}
	if !d.Wake.IsZero() {
		all = append(all, "wake "+d.Wake.Sub(now).String())
	}
	return strings.Join(all, ", ")
}

func TestNext(t *testing.T) {
	long := Backoff{40 * time.Second, now.Add(-20 * time.Second)}
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		o    Observed
		want string
	}{
		{
			"new", pod(),
			Observed{Now: now, Containers: map[string]Container{}},
			"SetupVolumes, PullImage a, PullImage b, CreateSandbox, = Pending, a:ContainerCreating, b:ContainerCreating",
		},
		{
			"all under way", pod(),
			Observed{Now: now, Volumes: Step{Busy: true}, Sandbox: Sandbox{Step: Step{Busy: true}}, Containers: map[string]Container{"a": {Image: Step{Busy: true}}, "b": {Image: Step{Busy: true}}}},
			"= Pending, a:ContainerCreating, b:ContainerCreating",
		},
		{
			"volumes are late", pod(), up(func(o *Observed) { o.Volumes = Step{Busy: true} }, with("a", Container{Image: has}), with("b", Container{Image: has})),
			"= Pending, a:ContainerCreating, b:ContainerCreating",
		},
		{
			"volumes failed", pod(), up(func(o *Observed) { o.Volumes = Step{Failed: &Failure{At: now, Count: 3}} }, with("a", Container{Image: has}), with("b", Container{Image: has})),
			"= Pending, a:ContainerCreating, b:ContainerCreating, wake 4s",
		},
		{
			"sandbox failed", pod(), up(func(o *Observed) { o.Sandbox = Sandbox{Step: Step{Failed: &Failure{At: now, Count: 1}}} }, with("a", Container{Image: has}), with("b", Container{Image: has})),
			"= Pending, a:ContainerCreating, b:ContainerCreating, wake 1s",
		},
		{
			"in order", pod(), up(with("a", Container{Image: has}), with("b", Container{Image: has})),
			"StartContainer a, = Pending, a:ContainerCreating, b:ContainerCreating",
		},
		{
			"second waits for first", pod(), up(with("a", Container{Image: has, Start: Step{Busy: true}}), with("b", Container{Image: has})),
			"= Pending, a:ContainerCreating, b:ContainerCreating",
		},
		{
			"second", pod(), up(with("a", running(true)), with("b", Container{Image: has})),
			"StartContainer b, = Pending, a:Running+, b:ContainerCreating",
		},
		{
			"second while the first's image is fetched", pod(), up(with("a", Container{Image: Step{Busy: true}}), with("b", Container{Image: has})),
			"StartContainer b, = Pending, a:ContainerCreating, b:ContainerCreating",
		},
		{"up", pod(), up(with("a", running(true)), with("b", running(false))), "= Running, a:Running+, b:Running"},
		{
			"image failed", pod(), up(with("a", Container{Image: Step{Failed: &Failure{Reason: "ErrImagePull", At: now, Count: 1}}}), with("b", running(true))),
			"= Pending, a:ErrImagePull, b:Running+, wake 3s",
		},
		{
			"image waits", pod(), up(with("a", Container{Image: Step{Failed: &Failure{Reason: "ErrImagePull", At: now.Add(-4 * time.Second), Count: 2}}}), with("b", running(true))),
			"= Pending, a:ImagePullBackOff, b:Running+, wake 16s",
		},
		{
			"image again", pod(), up(with("a", Container{Image: Step{Failed: &Failure{Reason: "ErrImagePull", At: now.Add(-10 * time.Second), Count: 1}}}), with("b", running(true))),
			"PullImage a, = Pending, a:ImagePullBackOff, b:Running+",
		},
		{
			"image never", pod(), up(with("a", Container{Image: Step{Failed: &Failure{Reason: "ErrImageNeverPull", At: now, Count: 1}}}), with("b", running(true))),
			"= Pending, a:ErrImageNeverPull, b:Running+, wake 10s",
		},
		{
			"refused", pod(), up(with("a", Container{Image: has, Start: Step{Failed: &Failure{Reason: "CreateContainerConfigError", At: now, Count: 2}}}), with("b", running(true))),
			"= Pending, a:CreateContainerConfigError, b:Running+, wake 2s",
		},

		{
			"first restart at once", pod(), up(with("a", exited(1)), with("b", running(true))),
			"StartContainer a #1 next 10s, = Running, a:Error(1), b:Running+",
		},
		{
			"image of a restart", pod(), up(with("a", change(exited(1), func(c *Container) { c.Image = Step{} })), with("b", running(true))),
			"PullImage a, = Running, a:Error(1), b:Running+",
		},
		{
			"second restart waits", pod(), up(with("a", change(exited(1), func(c *Container) { c.Backoff = Backoff{10 * time.Second, now.Add(-2 * time.Second)} })), with("b", running(true))),
			"= Running, a:CrashLoopBackOff, b:Running+, wake 9s",
		},
		{
			"back-off doubles", pod(), up(with("a", change(exited(1), func(c *Container) { c.Backoff = long; c.Current.FinishedAt = now.Add(-40 * time.Second) })), with("b", running(true))),
			"StartContainer a #1 next 1m20s, = Running, a:Error(1), b:Running+",
		},
		{
			"back-off ends at 5m", pod(), up(with("a", change(exited(1), func(c *Container) {
				c.Backoff = Backoff{lastBackoff, now.Add(-6 * time.Minute)}
				c.Current.FinishedAt = now.Add(-5 * time.Minute)
			})), with("b", running(true))),
			"StartContainer a #1 next 5m0s, = Running, a:Error(1), b:Running+",
		},
		{
			"back-off is forgotten", pod(), up(with("a", change(exited(1), func(c *Container) { c.Backoff = Backoff{lastBackoff, now.Add(-11 * time.Minute)} })), with("b", running(true))),
			"StartContainer a #1 next 10s, = Running, a:Error(1), b:Running+",
		},
		{
			"a start that failed is shown", pod(), up(with("a", change(exited(128), func(c *Container) {
				c.Backoff = Backoff{10 * time.Second, now.Add(-time.Second)}
				c.Start.Failed = &Failure{Reason: "RunContainerError", At: now.Add(-time.Second), Count: 2}
			})), with("b", running(true))),
			"= Running, a:RunContainerError, b:Running+, wake 2s",
		},
		{"never", pod(policy("Never")), up(with("a", exited(1)), with("b", running(true))), "= Running, a:Error(1), b:Running+"},
		{"never, all ended", pod(policy("Never")), up(with("a", exited(1)), with("b", exited(0))), "Cleanup, = Failed, a:Error(1), b:Completed(0)"},
		{"on failure, succeeded", pod(policy("OnFailure")), up(with("a", exited(0)), with("b", exited(0))), "Cleanup, = Succeeded, a:Completed(0), b:Completed(0)"},
		{
			"on failure, failed", pod(policy("OnFailure")), up(with("a", exited(0)), with("b", exited(7))),
			"StartContainer b #1 next 10s, = Running, a:Completed(0), b:Error(7)",
		},
		{
			"restart rule", pod(policy("Never"), func(p *corev1.Pod) {
				p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: "Restart", ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: "In", Values: []int32{42}}}}
			}), up(with("a", exited(42)), with("b", running(true))),
			"StartContainer a #1 next 10s, = Running, a:Error(42), b:Running+",
		},

		{
			"unhealthy", pod(), up(with("a", change(running(true), func(c *Container) { c.Unhealthy = &Unhealthy{Probe: "liveness"} })), with("b", running(true))),
			"StopContainer a by 30s, = Running, a:Running+, b:Running+",
		},
		{
			"unhealthy with a grace of its own", pod(), up(with("a", change(running(true), func(c *Container) { c.Unhealthy = &Unhealthy{"startup", new(int64(5))} })), with("b", running(true))),
			"StopContainer a by 5s, = Running, a:Running+, b:Running+",
		},
		{
			"being stopped", pod(), up(with("a", change(running(true), func(c *Container) { c.Unhealthy = &Unhealthy{Probe: "liveness"}; c.Stopping = true })), with("b", running(true))),
			"= Running, a:Running+, b:Running+",
		},
		{
			"other image", pod(), up(with("a", change(running(true), func(c *Container) { c.Current.Hash = "other" })), with("b", running(true))),
			"StopContainer a by 30s, = Running, a:Running+, b:Running+",
		},
		{
			"not started yet", pod(), up(with("a", change(running(true), func(c *Container) { c.Started = false })), with("b", running(true))),
			"= Running, a:Running, b:Running+",
		},

		{
			"init first", pod(inits("i1", "i2")), up(with("i1", Container{Image: has})),
			"StartContainer i1, = Pending, i1:PodInitializing, i2:PodInitializing, a:PodInitializing, b:PodInitializing",
		},
		{
			"init runs", pod(inits("i1", "i2")), up(with("i1", running(false))),
			"= Pending, i1:Running, i2:PodInitializing, a:PodInitializing, b:PodInitializing",
		},
		{
			"init next", pod(inits("i1", "i2")), up(with("i1", exited(0)), with("i2", Container{Image: has})),
			"StartContainer i2, = Pending, i1:Completed(0)+, i2:PodInitializing, a:PodInitializing, b:PodInitializing",
		},
		{
			"init again", pod(inits("i1")), up(with("i1", exited(1))),
			"StartContainer i1 #1 next 10s, = Pending, i1:Error(1), a:PodInitializing, b:PodInitializing",
		},
		{
			"init failed", pod(inits("i1"), policy("Never")), up(with("i1", exited(1))),
			"Cleanup, = Failed, i1:Error(1), a:PodInitializing, b:PodInitializing",
		},
		{
			"init done", pod(inits("i1")), up(with("i1", exited(0)), with("a", Container{Image: has}), with("b", Container{Image: has})),
			"StartContainer a, = Pending, i1:Completed(0)+, a:ContainerCreating, b:ContainerCreating",
		},
		{
			"init forgotten", pod(inits("i1")), up(with("a", running(true)), with("b", running(true))),
			"= Running, i1:ContainerCreating, a:Running+, b:Running+",
		},
		{
			"sidecar not started", pod(inits("side", "i1")), up(with("side", change(running(true), func(c *Container) { c.Started = false }))),
			"= Pending, side:Running, i1:PodInitializing, a:PodInitializing, b:PodInitializing",
		},
		{
			"after the sidecar", pod(inits("side", "i1")), up(with("side", running(true)), with("i1", Container{Image: has})),
			"StartContainer i1, = Pending, side:Running+, i1:PodInitializing, a:PodInitializing, b:PodInitializing",
		},
		{
			"sidecar restarts", pod(inits("side"), policy("Never")), up(with("side", exited(1)), with("a", running(true)), with("b", running(true))),
			"StartContainer side #1 next 10s, = Running, side:Error(1), a:Running+, b:Running+",
		},
		{
			"sidecar ends last", pod(inits("side"), policy("Never")), up(with("side", running(true)), with("a", exited(0)), with("b", exited(0))),
			"StopContainer side by 30s, = Running, side:Running+, a:Completed(0), b:Completed(0)",
		},
		{
			"sidecar's end does not count", pod(inits("side"), policy("Never")), up(with("side", exited(137)), with("a", exited(0)), with("b", exited(0))),
			"Cleanup, = Succeeded, side:Error(137), a:Completed(0), b:Completed(0)",
		},

		{
			"sandbox died", pod(), up(func(o *Observed) { o.Sandbox.Ready = false }, with("a", running(true)), with("b", running(true))),
			"StopSandbox, = Running, a:Running+, b:Running+",
		},
		{"sandbox again", pod(inits("i1")), up(func(o *Observed) { o.Sandbox.Ready = false }, with("i1", exited(0)), with("a", exited(137)), with("b", exited(137)), func(o *Observed) {
			for _, c := range o.Containers {
				c.Current.Sandbox = "s0"
			}
		}), "CreateSandbox #1, = Pending, i1:Completed(0)+, a:Error(137), b:Error(137)"},
		{
			"no sandbox for what has ended", pod(policy("Never")), up(func(o *Observed) { o.Sandbox.Ready = false }, with("a", exited(137)), with("b", exited(137))),
			"Cleanup, = Failed, a:Error(137), b:Error(137)",
		},

		{
			"deleted", pod(deleted, inits("side")), up(with("a", running(true)), with("b", exited(0)), with("side", running(true))),
			"StopContainer a by 30s, = Running, side:Running+, a:Running+, b:Completed(0)",
		},
		{
			"deleted, while starting", pod(deleted), up(with("a", Container{Start: Step{Busy: true}}), with("b", Container{Image: Step{Busy: true}})),
			"CancelStart a, CancelStart b, = Pending, a:ContainerCreating, b:ContainerCreating",
		},
		{
			"deleted, sooner", pod(deleted, func(p *corev1.Pod) { p.DeletionGracePeriodSeconds = new(int64(1)) }),
			up(with("a", change(running(true), func(c *Container) { c.Stopping, c.StopDeadline = true, now.Add(20*time.Second) })), with("b", exited(0)), func(o *Observed) { o.EndingSince = now.Add(-10 * time.Second) }),
			"StopContainer a by -9s, = Running, a:Running+, b:Completed(0)",
		},
		{
			"deleted, sidecars", pod(deleted, inits("side1", "side2")), up(with("side1", running(true)), with("side2", running(true)), with("a", exited(0)), with("b", exited(0))),
			"StopContainer side2 by 30s, = Running, side1:Running+, side2:Running+, a:Completed(0), b:Completed(0)",
		},
		{"deleted, all ended", pod(deleted), up(with("a", exited(0)), with("b", exited(143))), "Remove, = Failed, a:Completed(0), b:Error(143)"},
		{"deleted, removed", pod(deleted), up(with("a", exited(0)), with("b", exited(0)), func(o *Observed) { o.Removal.Done = true }), "finished, = Succeeded, a:Completed(0), b:Completed(0)"},
		{"deleted, never begun", pod(deleted), Observed{Now: now}, "Remove, = Pending, a:ContainerCreating, b:ContainerCreating"},
		{"gone", pod(), up(with("a", running(true)), with("b", exited(0)), func(o *Observed) { o.Gone = true }), "StopContainer a by 30s, = Running, a:Running+, b:Completed(0)"},
		{
			"ended, deleted while cleaned", pod(policy("Never"), deleted), up(with("a", exited(0)), with("b", exited(0)), func(o *Observed) { o.Cleanup.Busy = true }),
			"= Succeeded, a:Completed(0), b:Completed(0)",
		},

		{
			"deadline", pod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(90)) }), up(with("a", running(true)), with("b", running(true))),
			"= Running, a:Running+, b:Running+, wake 30s",
		},
		{
			"deadline passed", pod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(60)) }), up(with("a", running(true)), with("b", running(true))),
			"StopContainer a by 30s, StopContainer b by 30s, = Running, a:Running+, b:Running+",
		},
		{
			"deadline, ended", pod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(60)) }), up(with("a", exited(0)), with("b", exited(0))),
			"Cleanup, = Failed, a:Completed(0), b:Completed(0)",
		},
		{"ended before the agent came", pod(func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodSucceeded
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}}}
		}), Observed{Now: now}, "Cleanup, = Succeeded, a:Completed(0)"},
		{"rejected", pod(), Observed{Now: now, Rejected: &Failure{Reason: "OutOfcpu"}}, "Cleanup, = Failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := told(Next(test.pod, test.o)); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestAddresses: rule D3.3 and D3.4, for every order of families.
func TestAddresses(t *testing.T) {
	parse := func(ips string) (all []netip.Addr) {
		for ip := range strings.FieldsSeq(ips) {
			all = append(all, netip.MustParseAddr(ip))
		}
		return all
	}
	for _, test := range []struct{ name, hosts, runtime, want, wantHostNetwork string }{
		{"v4", "172.30.0.3", "10.0.0.2", "10.0.0.2", "172.30.0.3"},
		{"v6", "fd00::3", "fd00:1::2", "fd00:1::2", "fd00::3"},
		{"v4+v6", "172.30.0.3 fd00::3", "fd00:1::2 10.0.0.2", "10.0.0.2 fd00:1::2", "172.30.0.3 fd00::3"},
		{"v6+v4", "fd00::3 172.30.0.3", "10.0.0.2 fd00:1::2", "fd00:1::2 10.0.0.2", "fd00::3 172.30.0.3"},
		{"primary absent", "fd00::3", "10.0.0.2 10.0.0.3", "10.0.0.2", "fd00::3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := up(func(o *Observed) {
				o.HostIPs = parse(test.hosts)
				o.Sandbox.IPs = SortIPs(parse(test.runtime), o.HostIPs)
			})
			joined := func(s corev1.PodStatus) string {
				var ips []string
				for _, ip := range s.PodIPs {
					ips = append(ips, ip.IP)
				}
				if s.PodIP != ips[0] {
					t.Errorf("podIP %s of %s", s.PodIP, ips)
				}
				return strings.Join(ips, " ")
			}
			if got := joined(Next(pod(), o).Status); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if got := joined(Next(pod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), o).Status); got != test.wantHostNetwork {
				t.Errorf("host network: got %s, want %s", got, test.wantHostNetwork)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	gate := func(p *corev1.Pod) { p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/y"}} }
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		o    Observed
		want string
	}{
		{
			"new", pod(inits("i1", "side")),
			Observed{Now: now},
			"PodReadyToStartContainers=False | Initialized=False ContainersNotInitialized containers with incomplete status: [i1 side] | Ready=False ContainersNotReady containers with unready status: [side a b] | ContainersReady=False ContainersNotReady containers with unready status: [side a b]",
		},
		{
			"ready", pod(), up(with("a", running(true)), with("b", running(true))),
			"PodReadyToStartContainers=True | Initialized=True | Ready=True | ContainersReady=True",
		},
		{
			"gate absent", pod(gate), up(with("a", running(true)), with("b", running(true))),
			`PodReadyToStartContainers=True | Initialized=True | Ready=False ReadinessGatesNotReady corresponding condition of pod readiness gate "x/y" does not exist. | ContainersReady=True`,
		},
		{
			"gate false", pod(gate, func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: "x/y", Status: "False"}}
			}), up(with("a", running(true)), with("b", running(true))),
			`PodReadyToStartContainers=True | Initialized=True | Ready=False ReadinessGatesNotReady the status of pod readiness gate "x/y" is not "True", but False | ContainersReady=True | x/y=False`,
		},
		{
			"succeeded", pod(policy("Never")), up(with("a", exited(0)), with("b", exited(0)), func(o *Observed) { o.Sandbox.Ready = false }),
			"PodReadyToStartContainers=False | Initialized=True PodCompleted | Ready=False PodCompleted | ContainersReady=False PodCompleted",
		},
		{
			"failed", pod(policy("Never")), up(with("a", exited(0)), with("b", exited(1)), func(o *Observed) { o.Sandbox.Ready = false }),
			"PodReadyToStartContainers=False | Initialized=True | Ready=False PodFailed | ContainersReady=False PodFailed",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var all []string
			for _, c := range Next(test.pod, test.o).Status.Conditions {
				all = append(all, strings.TrimSpace(fmt.Sprintf("%s=%s %s %s", c.Type, c.Status, c.Reason, c.Message)))
			}
			if got := strings.Join(all, " | "); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestTransition: a condition keeps the time since which it holds.
func TestTransition(t *testing.T) {
	o := up(with("a", running(true)), with("b", running(true)))
	p := pod()
	p.Status = Next(p, o).Status
	o.Now = now.Add(time.Minute)
	o.Containers["b"] = running(false)
	for _, c := range Next(p, o).Status.Conditions {
		changed := c.Type == corev1.PodReady || c.Type == corev1.ContainersReady
		if since := c.LastTransitionTime.Time; since.Equal(o.Now) != changed {
			t.Errorf("%s since %v", c.Type, since)
		}
	}
}
