package scheduler

import "sync"

// inbox is how other goroutines tell the scheduler's what has happened.
type inbox struct {
	wake chan struct{} // has room for one

	mu       sync.Mutex
	messages []func()
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// post hands over a message; it never waits.
func (i *inbox) post(message func()) {
	i.mu.Lock()
	i.messages = append(i.messages, message)
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// deliver runs all messages, in order.
func (i *inbox) deliver() {
	i.mu.Lock()
	messages := i.messages
	i.messages = nil
	i.mu.Unlock()
	for _, m := range messages {
		m()
	}
}
