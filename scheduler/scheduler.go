package scheduler

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/listen"
)

// Identity is the user that the scheduler works as; its role is the one upstream's has.
const Identity = "system:kube-scheduler"

// Deps is what the scheduler acts through. The caller starts the informers after New.
type Deps struct {
	Client kubernetes.Interface
	Pods   coreinformers.PodInformer
	Nodes  coreinformers.NodeInformer
	Events record.EventRecorder
}

// Config has no required field.
type Config struct {
	// Name that Pods ask for by spec.schedulerName; "" means default-scheduler.
	Name string
	// Bindings is how many are under way at a time; 0 means 64.
	Bindings int
}

// Scheduler gives Pods their nodes.
type Scheduler struct {
	deps    Deps
	config  Config
	profile profile
	inbox   *inbox
	reports *reports
	slots   chan struct{} // one for each binding under way
	writes  sync.WaitGroup

	// Owned by Run.
	picture *picture
	pending *pending
	turn    int
}

// New asks for the informers it needs.
func New(deps Deps, config Config) (*Scheduler, error) {
	if config.Name == "" {
		config.Name = corev1.DefaultSchedulerName
	}
	if config.Bindings == 0 {
		config.Bindings = 64
	}
	deps.Pods.Informer()
	deps.Nodes.Informer()
	return &Scheduler{
		deps: deps, config: config, profile: standard(), inbox: newInbox(),
		reports: newReports(deps), slots: make(chan struct{}, config.Bindings),
		picture: newPicture(), pending: newPending(),
	}, nil
}

// Run schedules until ctx ends, and returns when all goroutines are gone. It runs once. It listens
// to the informers only meanwhile: where another server leads, nothing piles up here.
func (s *Scheduler) Run(ctx context.Context) error {
	var listener listen.Listener
	defer listener.Stop()
	listener.To(s.deps.Nodes.Informer(), listen.Seen(func(n *corev1.Node, gone bool) { s.inbox.post(func() { s.nodeSeen(n, gone) }) }))
	listener.To(s.deps.Pods.Informer(), listen.Seen(func(p *corev1.Pod, gone bool) { s.inbox.post(func() { s.podSeen(p, gone) }) }))
	if err := listener.Err(); err != nil {
		return fmt.Errorf("scheduler: watch Pods and Nodes: %w", err)
	}
	s.writes.Go(func() { s.reports.run(ctx) })
	defer s.writes.Wait()
	listener.Synced(ctx)
	for ctx.Err() == nil {
		s.inbox.deliver()
		if w := s.pending.pop(); w != nil {
			s.schedule(ctx, w)
			continue
		}
		select {
		case <-s.inbox.wake:
		case <-ctx.Done():
		}
	}
	return nil
}

func (s *Scheduler) nodeSeen(n *corev1.Node, gone bool) {
	if gone {
		s.picture.removeNode(n.Name)
		return
	}
	s.pending.revive(s.picture.setNode(n))
}

// podSeen brings the picture up to what an informer shows.
func (s *Scheduler) podSeen(p *corev1.Pod, gone bool) {
	ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch {
	case gone || ended:
		s.drop(p.UID)
	case p.Spec.NodeName != "":
		s.confirm(p)
	case p.DeletionTimestamp != nil || p.Spec.SchedulerName != s.config.Name:
		s.drop(p.UID)
	default:
		s.want(p)
	}
}

// drop forgets a Pod; what it had on its node is free.
func (s *Scheduler) drop(uid types.UID) {
	s.pending.remove(uid)
	s.reports.drop(uid)
	if s.picture.remove(uid) {
		s.pending.revive(podGone)
	}
}

// confirm counts a Pod on the node that the API says it has.
func (s *Scheduler) confirm(p *corev1.Pod) {
	s.pending.remove(p.UID)
	s.reports.drop(p.UID)
	had := s.picture.places[p.UID]
	if had == nil {
		s.picture.place(newPod(p), p.Spec.NodeName)
		return
	}
	old := had.pods[p.UID]
	if old.Pod == p || equality.Semantic.DeepEqual(old.Spec, p.Spec) {
		return // its status changed, as it does all the time
	}
	now := newPod(p)
	s.picture.place(now, p.Spec.NodeName)
	if had.name != p.Spec.NodeName || !maps.Equal(old.needs.Requests, now.needs.Requests) { // not where it was assumed; resized
		s.pending.revive(podGone)
	}
}

// want puts a Pod that has no node in the queue.
func (s *Scheduler) want(p *corev1.Pod) {
	w, known := s.pending.pods[p.UID]
	switch {
	case known && w.state == binding:
		// From before the binding, or of something else: what it asks for cannot change any more.
	case known && equality.Semantic.DeepEqual(w.Spec, p.Spec):
		w.Pod = p // our own report, for one
	default:
		s.pending.put(newPod(p))
	}
}

// schedule decides on a Pod and has the decision written.
func (s *Scheduler) schedule(ctx context.Context, w *waiting) {
	d := s.profile.decide(w.pod, s.picture.nodes, s.turn)
	s.turn++
	if d.node == nil {
		s.pending.park(w, d.helps)
		s.reports.add(w.Pod, corev1.PodReasonUnschedulable, d.message)
		return
	}
	s.reports.drop(w.UID)
	w.state = binding
	s.picture.place(w.pod, d.node.name)
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	p, name := w.Pod, d.node.name
	s.writes.Go(func() {
		defer func() { <-s.slots }()
		err := s.bind(ctx, p, name)
		s.inbox.post(func() { s.bound(ctx, p.UID, err) })
	})
}

func (s *Scheduler) bind(ctx context.Context, p *corev1.Pod, name string) error {
	err := s.deps.Client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: name},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("bind Pod %s/%s to node %s: %w", p.Namespace, p.Name, name, err)
	}
	s.deps.Events.Eventf(p, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %s/%s to %s", p.Namespace, p.Name, name)
	return nil
}

// How long a Pod waits after a binding has failed: doubling from first to last.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// bound hears how a binding went. When it went well the informer will say so. A refusal often means
// that the Pod has a node already or is gone, which the informer will say, too; what is still
// waiting then is tried again.
func (s *Scheduler) bound(ctx context.Context, uid types.UID, err error) {
	w, ok := s.pending.pods[uid]
	if err == nil || !ok || w.state != binding {
		return
	}
	if s.picture.remove(uid) {
		s.pending.revive(podGone)
	}
	s.pending.park(w, 0)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		klog.FromContext(ctx).V(2).Info("Pod could not be bound", "err", err)
	} else {
		klog.FromContext(ctx).Error(err, "Pod could not be bound, will try again")
		s.reports.add(w.Pod, corev1.PodReasonSchedulerError, err.Error())
	}
	wait := min(firstRetry<<min(w.tries, 10), lastRetry)
	w.tries++
	time.AfterFunc(wait, func() {
		s.inbox.post(func() {
			if s.pending.pods[uid] == w && w.state == parked {
				s.pending.activate(w)
			}
		})
	})
}
