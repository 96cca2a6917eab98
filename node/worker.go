package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// worker looks after one Pod. All fields but mail belong to the goroutine of run; what takes time
// happens in others, which tell the worker how it went.
type worker struct {
	*parts
	uid  types.UID
	mail *mailbox
	ops  sync.WaitGroup

	// pod is the newest that the API is known to have; its status is replaced by shown before
	// anything is decided.
	pod *corev1.Pod
	// o is what is known, with its maps owned here.
	o podstate.Observed
	// sandboxConfig belongs to o.Sandbox.
	sandboxConfig *runtimeapi.PodSandboxConfig
	// old are sandboxes before the present one that the runtime still has.
	old []string
	// underway is what is known about containers and is not decided upon.
	underway map[string]*underway
	// exits and oom are news of instances that are being started, by id.
	exits map[string]cri.Event
	oom   map[string]bool
	// judging: whether the node takes the Pod is not known yet; adopting: the runtime is being asked
	// what there is. Nothing is decided meanwhile.
	judging, adopting bool
	refresh           refresh
	status            statusWriter

	// view is for others; first is the Pod as it came, for its names.
	view  atomic.Pointer[view]
	first *corev1.Pod
	// portsChanged is called when view has other ports.
	portsChanged func()
}

// underway is the rest of what a worker holds for a container.
type underway struct {
	image *runtimeapi.Image
	// cancelStart, cancelStop and cancelProbes end what is under way; nil if nothing is.
	cancelStart, cancelStop, cancelProbes context.CancelFunc
	// backoffShown is the back-off that event BackOff has told of.
	backoffShown time.Time
}

func newWorker(p *parts, pod *corev1.Pod, portsChanged func()) *worker {
	return &worker{
		parts: p, uid: pod.UID, mail: newMailbox(), pod: pod, first: pod, portsChanged: portsChanged,
		o:        podstate.Observed{Containers: map[string]podstate.Container{}},
		underway: map[string]*underway{}, exits: map[string]cri.Event{}, oom: map[string]bool{},
	}
}

// tell has a note run by the worker. It may be called from anywhere.
func (w *worker) tell(n note) { w.mail.put(n) }

// run works until nothing is left of the Pod on the node and in the API, or until ctx ends: then
// everything stays as it is. It returns when its goroutines have.
func (w *worker) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.ops.Wait()
	defer cancel()
	timer := w.clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for _, note := range w.mail.take() {
			note(ctx)
		}
		wake, finished := w.decide(ctx)
		if finished {
			return
		}
		wait := time.Hour
		if !wake.IsZero() {
			wait = max(wake.Sub(w.clock.Now()), time.Millisecond)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-w.mail.ready:
		case <-timer.C():
		}
	}
}

// decide does what has to be done now; it tells when to look again, and whether all is over.
func (w *worker) decide(ctx context.Context) (wake time.Time, finished bool) {
	w.o.HostIPs = w.hostIPs()
	if w.judging || w.adopting || len(w.o.HostIPs) == 0 {
		return time.Time{}, false // there will be a note
	}
	w.o.Now = w.clock.Now()
	d := podstate.Next(w.seen(), w.o)
	if d.Ending && w.o.EndingSince.IsZero() {
		w.o.EndingSince = w.o.Now
	}
	if podstate.Over(d.Status.Phase) {
		w.admission.release(w.uid) // before the API says that there is room
	}
	for _, action := range d.Actions {
		w.act(ctx, action)
	}
	w.expose()
	if !w.o.Gone {
		w.show(ctx, d.Status)
	}
	if d.Finished {
		finished = w.o.Gone || w.status.deleted
		if !finished {
			w.leave(ctx)
		}
	}
	return sooner(d.Wake, w.refreshVolumes(ctx)), finished
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// updated takes the Pod as the API has it now. What is older than what is known is no news: the
// answer to a write of the worker may overtake the watch.
func (w *worker) updated(pod *corev1.Pod) {
	if older(pod, w.pod) {
		return
	}
	w.status.compare(pod)
	changed := !mapsEqual(pod.Labels, w.pod.Labels) || !mapsEqual(pod.Annotations, w.pod.Annotations)
	w.pod = pod
	if changed {
		w.refresh.due = true
	}
}

func older(a, b *corev1.Pod) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order < 0
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if other, ok := b[k]; !ok || other != v {
			return false
		}
	}
	return true
}

// judged: the node takes the Pod, or not.
func (w *worker) judged(refused *podstate.Failure) {
	w.judging, w.o.Rejected = false, refused
	if refused != nil {
		w.warn(w.pod, refused.Reason, refused.Message)
	}
}

// gone: the API has the Pod no more.
func (w *worker) gone(last *corev1.Pod) {
	if last != nil && !older(last, w.pod) {
		w.pod = last
	}
	w.o.Gone = true
}

// container changes what is known about one.
func (w *worker) container(name string, change func(*podstate.Container)) {
	c := w.o.Containers[name]
	change(&c)
	w.o.Containers[name] = c
}

func (w *worker) underwayOf(name string) *underway {
	r := w.underway[name]
	if r == nil {
		r = &underway{}
		w.underway[name] = r
	}
	return r
}

// spec of a container of the Pod; nil if it has none of that name.
func spec(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// after runs what takes time, and then what it returns in the worker's goroutine.
func (w *worker) after(ctx context.Context, do func(ctx context.Context) (then note)) {
	w.ops.Go(func() {
		if then := do(ctx); then != nil {
			w.tell(then)
		}
	})
}

// failure counts failures in a row.
func (w *worker) failure(step podstate.Step, reason, message string) *podstate.Failure {
	f := &podstate.Failure{Reason: reason, Message: message, At: w.clock.Now(), Count: 1}
	if step.Failed != nil {
		f.Count += step.Failed.Count
	}
	return f
}

func (w *worker) logger(ctx context.Context) klog.Logger {
	return klog.FromContext(ctx).WithValues("pod", klog.KObj(w.pod))
}

// sleep tells whether the time has passed; if not, ctx has ended.
func (w *worker) sleep(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-w.clock.After(wait):
		return true
	}
}
