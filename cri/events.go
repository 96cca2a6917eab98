package cri

import (
	"context"
	"time"

	events "github.com/containerd/containerd/api/events"
	eventservice "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"k8s.io/klog/v2"
)

// EventKind says what happened.
type EventKind int

const (
	// Relist says that what happened up to now is unknown: ask CRI for all of it.
	Relist EventKind = iota
	// Exit of the first process of a container or sandbox.
	Exit
	// OOM says that the kernel killed a process of a container for its memory.
	OOM
)

// Event is what the runtime tells by itself.
type Event struct {
	Kind EventKind
	// ID of a container or of a sandbox; "" with Relist.
	ID       string
	ExitCode int32
	At       time.Time
}

// The filters of containerd's event service; CRI's containers live in namespace k8s.io.
var filters = []string{
	`namespace==k8s.io,topic=="/tasks/exit"`,
	`namespace==k8s.io,topic=="/tasks/oom"`,
}

// subscribeSettle is how long a subscription is given to be in place on the server before the
// caller lists: containerd acknowledges none.
const subscribeSettle = 10 * time.Millisecond

// Events sends what happens to containers until ctx ends, then closes the channel. The first event
// is a Relist, and so is the first after each interruption: the subscription is in place by then.
// A receiver that is slow slows containerd's delivery to this subscriber, to no one else.
func (r *Runtime) Events(ctx context.Context) <-chan Event {
	out := make(chan Event)
	go func() {
		defer close(out)
		for ctx.Err() == nil {
			err := r.subscribe(ctx, out)
			if ctx.Err() != nil {
				return
			}
			klog.FromContext(ctx).Info("The runtime's events were interrupted", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(reconnect.BaseDelay):
			}
		}
	}()
	return out
}

// subscribe sends events until the stream breaks.
func (r *Runtime) subscribe(ctx context.Context, out chan<- Event) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := eventservice.NewEventsClient(r.conn).Subscribe(ctx, &eventservice.SubscribeRequest{Filters: filters}, grpc.WaitForReady(true))
	if err != nil {
		return failed("Subscribe", "", err)
	}
	// CRI answers later than containerd's own services after a start.
	if _, err := r.version(ctx); err != nil {
		return err
	}
	time.Sleep(subscribeSettle)
	if !send(ctx, out, Event{Kind: Relist, At: time.Now()}) {
		return ctx.Err()
	}
	for {
		envelope, err := stream.Recv()
		if err != nil {
			return failed("Subscribe", "", err)
		}
		event, ok := decode(envelope)
		if ok && !send(ctx, out, event) {
			return ctx.Err()
		}
	}
}

// decode reads an envelope; ok is false for what is no business of a Pod, such as the exit of an
// exec's process.
func decode(envelope *types.Envelope) (event Event, ok bool) {
	switch envelope.GetTopic() {
	case "/tasks/exit":
		exit, err := unmarshal(envelope, &events.TaskExit{})
		if err != nil {
			return Event{}, false
		}
		if exit.GetID() != exit.GetContainerID() {
			return Event{}, false
		}
		return Event{Kind: Exit, ID: exit.GetContainerID(), ExitCode: int32(exit.GetExitStatus()), At: exit.GetExitedAt().AsTime()}, true
	case "/tasks/oom":
		oom, err := unmarshal(envelope, &events.TaskOOM{})
		if err != nil {
			return Event{}, false
		}
		return Event{Kind: OOM, ID: oom.GetContainerID(), At: envelope.GetTimestamp().AsTime()}, true
	}
	return Event{}, false
}

// unmarshal reads what is in an envelope by the type that its topic implies: containerd names the
// types differently from release to release ("containerd.events.TaskExit" in 1.6, without a host),
// the bytes are the same.
func unmarshal[M proto.Message](envelope *types.Envelope, into M) (M, error) {
	return into, proto.Unmarshal(envelope.GetEvent().GetValue(), into)
}

func send(ctx context.Context, out chan<- Event, event Event) bool {
	select {
	case out <- event:
		return true
	case <-ctx.Done():
		return false
	}
}
