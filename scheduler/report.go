package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/controllers/queue"
)

// reports tell people why a Pod has no node: by its condition PodScheduled, and by an event. Of
// several about one Pod only the last is written.
//
// Concurrency: add and drop are called by the scheduler's goroutine, sync by the queue's.
type reports struct {
	deps  Deps
	queue *queue.Queue[types.UID]

	mu     sync.Mutex
	wanted map[types.UID]report
}

// report is about one Pod.
type report struct {
	pod     *corev1.Pod
	reason  string
	message string
	told    bool // the event has been sent
}

func newReports(deps Deps) *reports {
	r := &reports{deps: deps, wanted: map[types.UID]report{}}
	r.queue = queue.New(r.sync)
	return r
}

// reporters is how many conditions are written at a time.
const reporters = 4

func (r *reports) run(ctx context.Context) { r.queue.Run(ctx, reporters) }

// add reports unless that has been said already: what is reconsidered often is not news.
func (r *reports) add(p *corev1.Pod, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.wanted[p.UID]
	if ok && last.reason == reason && last.message == message {
		return
	}
	r.wanted[p.UID] = report{pod: p, reason: reason, message: message}
	r.queue.Add(p.UID)
}

// drop takes back what has not been written: the Pod has a node now, or is gone.
func (r *reports) drop(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.wanted, uid)
}

// sync writes what is wanted. The patch is refused if the Pod is not the one that an informer shows
// without a node: had it just been bound, its condition would become wrong.
func (r *reports) sync(ctx context.Context, uid types.UID) error {
	want, ok := r.get(uid)
	if !ok {
		return nil
	}
	if !want.told {
		r.deps.Events.Event(want.pod, corev1.EventTypeWarning, "FailedScheduling", short(want.message))
		r.tell(uid, want)
	}
	live, err := r.deps.Pods.Lister().Pods(want.pod.Namespace).Get(want.pod.Name)
	if apierrors.IsNotFound(err) || err == nil && (live.UID != uid || live.Spec.NodeName != "") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Pod %s/%s: %w", want.pod.Namespace, want.pod.Name, err)
	}
	condition, differs := unscheduled(live, want)
	if !differs {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid, "resourceVersion": live.ResourceVersion},
		"status":   map[string]any{"conditions": []corev1.PodCondition{condition}},
	})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = r.deps.Client.CoreV1().Pods(live.Namespace).Patch(ctx, live.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("set condition of Pod %s/%s: %w", live.Namespace, live.Name, err)
	}
	return nil
}

func (r *reports) get(uid types.UID) (report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	want, ok := r.wanted[uid]
	return want, ok
}

// tell remembers that the event has been sent, unless there is something else to say by now.
func (r *reports) tell(uid types.UID, about report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted[uid] == about {
		about.told = true
		r.wanted[uid] = about
	}
}

// unscheduled returns the condition that a report makes, and whether the Pod has another.
func unscheduled(p *corev1.Pod, want report) (corev1.PodCondition, bool) {
	c := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: want.reason, Message: want.message,
		ObservedGeneration: want.pod.Generation, LastTransitionTime: metav1.Now(),
	}
	for _, old := range p.Status.Conditions {
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		return c, old.Status != c.Status || old.Reason != c.Reason || old.Message != c.Message
	}
	return c, true
}

// maxEvent is the length that the events API allows a note.
const maxEvent = 1024

func short(message string) string {
	if len(message) <= maxEvent {
		return message
	}
	return message[:maxEvent-4] + " ..."
}
