package node

import (
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/fit"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// admission says which Pods the node takes, and counts what they need. Each is looked at once, when
// the agent first sees it; one that an earlier agent took stays taken, whatever the node is like
// now. Nobody is refused before all those are counted and the node is known.
//
// Concurrency: for all.
type admission struct {
	// node as it is now; nil while it is not registered. fresh asks the API first: before a Pod is
	// refused, for the scheduler may have seen a change of the node that is not here yet.
	node, fresh func() *corev1.Node

	mu     sync.Mutex
	listed bool         // all Pods from before are counted
	known  *corev1.Node // when last looked
	room   fit.Room
	taken  map[types.UID]*fit.Pod
	held   []asked
}

// asked is a Pod that waits for an answer.
type asked struct {
	pod    *corev1.Pod
	answer func(refused *podstate.Failure)
}

func newAdmission(node, fresh func() *corev1.Node) *admission {
	return &admission{node: node, fresh: fresh, taken: map[types.UID]*fit.Pod{}}
}

// ask has a Pod answered, now or when the time has come: nil if the node takes it. One that was
// taken before is.
func (a *admission) ask(pod *corev1.Pod, before bool, answer func(refused *podstate.Failure)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case podstate.Over(pod.Status.Phase):
		answer(nil)
	case before:
		a.take(pod.UID, fit.Of(pod))
		answer(nil)
	case !a.open():
		a.held = append(a.held, asked{pod, answer})
	default:
		answer(a.judge(pod))
	}
}

// counted: all Pods from before have been asked for.
func (a *admission) counted() {
	a.mu.Lock()
	a.listed = true
	a.mu.Unlock()
	a.look()
}

// look answers those that wait, the oldest first, if it can be done now.
func (a *admission) look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open() {
		return
	}
	slices.SortStableFunc(a.held, func(x, y asked) int {
		if x.pod.CreationTimestamp.Equal(&y.pod.CreationTimestamp) {
			return strings.Compare(x.pod.Name, y.pod.Name)
		}
		return x.pod.CreationTimestamp.Compare(y.pod.CreationTimestamp.Time)
	})
	for _, h := range a.held {
		h.answer(a.judge(h.pod))
	}
	a.held = nil
}

// open tells whether Pods can be judged. A node that is deleted from the API is taken as it was: its
// agent registers it again.
func (a *admission) open() bool {
	if n := a.node(); n != nil {
		a.known = n
	}
	return a.listed && a.known != nil
}

func (a *admission) judge(pod *corev1.Pod) *podstate.Failure {
	needs := fit.Of(pod)
	refuse := func() *podstate.Failure {
		a.room.Allocatable = fit.AmountsOf(a.known.Status.Allocatable)
		return podstate.Refuse(pod, &needs, a.known, &a.room)
	}
	if pod.DeletionTimestamp == nil && refuse() != nil {
		if n := a.fresh(); n != nil {
			a.known = n
		}
		if refused := refuse(); refused != nil {
			return refused
		}
	}
	a.take(pod.UID, needs)
	return nil
}

func (a *admission) take(uid types.UID, needs fit.Pod) {
	a.taken[uid] = &needs
	a.room.Add(&needs)
}

// release gives back what a Pod has taken, if it has; it may be called again.
func (a *admission) release(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if needs := a.taken[uid]; needs != nil {
		a.room.Remove(needs)
		delete(a.taken, uid)
	}
}
