package scheduler

import (
	"container/heap"

	"k8s.io/apimachinery/pkg/types"
)

// waiting is a Pod that wants a node.
type waiting struct {
	*pod
	state   state
	helps   change // when parked: what may bring it back
	arrived uint64 // among those of the same priority, who came first goes first
	at      int    // in the heap, when active
	tries   int    // bindings that failed
}

type state uint8

const (
	gated   state = iota // by spec.schedulingGates
	active               // to be decided on
	parked               // fits nowhere
	binding              // has a node; the API server has yet to confirm it
)

// pending are the Pods that want a node.
type pending struct {
	pods   map[types.UID]*waiting
	active byPriority
	count  uint64
}

func newPending() *pending { return &pending{pods: map[types.UID]*waiting{}} }

// put adds a Pod, or brings one back to be decided on with what is known of it now.
func (q *pending) put(p *pod) *waiting {
	w, ok := q.pods[p.UID]
	if !ok {
		q.count++
		w = &waiting{arrived: q.count, state: gated}
		q.pods[p.UID] = w
	}
	q.leave(w)
	w.pod = p
	if w.state = gated; len(p.Spec.SchedulingGates) == 0 {
		q.activate(w)
	}
	return w
}

// activate has a Pod decided on.
func (q *pending) activate(w *waiting) {
	if w.state != active {
		w.state = active
		heap.Push(&q.active, w)
	}
}

// leave takes a Pod out of the heap.
func (q *pending) leave(w *waiting) {
	if w.state == active {
		heap.Remove(&q.active, w.at)
	}
}

// pop returns the Pod whose turn it is, or nil. It is in no state; the caller gives it one.
func (q *pending) pop() *waiting {
	if len(q.active) == 0 {
		return nil
	}
	return heap.Pop(&q.active).(*waiting)
}

func (q *pending) park(w *waiting, helps change) { w.state, w.helps = parked, helps }

// remove forgets a Pod.
func (q *pending) remove(uid types.UID) {
	if w, ok := q.pods[uid]; ok {
		q.leave(w)
		delete(q.pods, uid)
	}
}

// revive brings back the parked Pods that a change may help.
func (q *pending) revive(c change) {
	if c == 0 {
		return
	}
	for _, w := range q.pods {
		if w.state == parked && w.helps&c != 0 {
			q.activate(w)
		}
	}
}

// byPriority is a heap: higher priority first, then who came first.
type byPriority []*waiting

func (h byPriority) Len() int { return len(h) }

func (h byPriority) Less(i, j int) bool {
	if a, b := h[i].priority(), h[j].priority(); a != b {
		return a > b
	}
	return h[i].arrived < h[j].arrived
}

func (h byPriority) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push is heap's.
func (h *byPriority) Push(x any) {
	w := x.(*waiting)
	w.at = len(*h)
	*h = append(*h, w)
}

// Pop is heap's.
func (h *byPriority) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}
