package node

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// mailbox holds what a worker is told until it looks.
type mailbox struct {
	// ready has something in it while notes has.
	ready chan struct{}

	mu    sync.Mutex
	notes []note
}

// note is what a worker is told, run by the worker with its context.
type note func(ctx context.Context)

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// put never blocks. The note is run by the worker, in order.
func (m *mailbox) put(n note) {
	m.mu.Lock()
	m.notes = append(m.notes, n)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []note {
	m.mu.Lock()
	defer m.mu.Unlock()
	notes := m.notes
	m.notes = nil
	return notes
}

// owners tells by a runtime's id whose worker is to hear of it.
type owners struct {
	mu sync.Mutex
	by map[string]types.UID
}

func newOwners() *owners { return &owners{by: map[string]types.UID{}} }

func (o *owners) add(id string, pod types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.by[id] = pod
}

func (o *owners) of(id string) (types.UID, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	uid, ok := o.by[id]
	return uid, ok
}

// remove forgets all of a Pod.
func (o *owners) remove(pod types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, uid := range o.by {
		if uid == pod {
			delete(o.by, id)
		}
	}
}
