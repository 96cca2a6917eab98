package cri

import (
	"errors"
	"fmt"
	"testing"
	"time"

	events "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func envelope(t *testing.T, topic string, event proto.Message) *types.Envelope {
	t.Helper()
	data, err := proto.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	// containerd 1.6 names types without a host.
	return &types.Envelope{Topic: topic, Namespace: "k8s.io", Event: &anypb.Any{TypeUrl: "containerd.events.X", Value: data}}
}

func TestDecode(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC)
	for _, test := range []struct {
		name     string
		envelope *types.Envelope
		want     Event
		ok       bool
	}{
		{"exit", envelope(t, "/tasks/exit", &events.TaskExit{ContainerID: "c", ID: "c", ExitStatus: 137, ExitedAt: timestamppb.New(at)}), Event{Exit, "c", 137, at}, true},
		{"exit of an exec", envelope(t, "/tasks/exit", &events.TaskExit{ContainerID: "c", ID: "probe", ExitedAt: timestamppb.New(at)}), Event{}, false},
		{"oom", envelope(t, "/tasks/oom", &events.TaskOOM{ContainerID: "c"}), Event{Kind: OOM, ID: "c", At: time.Unix(0, 0).UTC()}, true},
		{"other", envelope(t, "/tasks/start", &events.TaskStart{ContainerID: "c"}), Event{}, false},
		{"broken", &types.Envelope{Topic: "/tasks/exit", Event: &anypb.Any{Value: []byte{0xff}}}, Event{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, ok := decode(test.envelope); got != test.want || ok != test.ok {
				t.Errorf("got %v, %v", got, ok)
			}
		})
	}
}

// TestNumber: every signal of CRI's has a number, as Linux counts.
func TestNumber(t *testing.T) {
	for value, name := range runtimeapi.Signal_name {
		if n := number(runtimeapi.Signal(value)); (n == 0) != (value == 0) {
			t.Errorf("%s: %d", name, n)
		}
	}
	for signal, want := range map[runtimeapi.Signal]uint32{
		runtimeapi.Signal_SIGNAL_SIGUSR1: 10, runtimeapi.Signal_SIGNAL_SIGCLD: 17, runtimeapi.Signal_SIGNAL_SIGRTMIN: 34,
		runtimeapi.Signal_SIGNAL_SIGRTMINPLUS2: 36, runtimeapi.Signal_SIGNAL_SIGRTMAXMINUS14: 50, runtimeapi.Signal_SIGNAL_SIGRTMAX: 64,
	} {
		if n := number(signal); n != want {
			t.Errorf("%s: %d, want %d", signal, n, want)
		}
	}
}

func TestErrors(t *testing.T) {
	of := func(c codes.Code, text string) error { return failed("StopContainer", "id", status.Error(c, text)) }
	for _, test := range []struct {
		name                            string
		err                             error
		notFound, unavailable, canceled bool
	}{
		{"nil", failed("X", "", nil), false, false, false},
		{"not found", of(codes.NotFound, "no such container"), true, false, false},
		{"wrapped", fmt.Errorf("pod: %w", of(codes.NotFound, "no such container")), true, false, false},
		{"unavailable", of(codes.Unavailable, "connection refused"), false, true, false},
		{"starting", of(codes.Unimplemented, "unknown service runtime.v1.RuntimeService"), false, true, false},
		{"recovering", of(codes.Unknown, "server is not initialized yet"), false, true, false},
		{"canceled", of(codes.Canceled, "context canceled"), false, false, true},
		{"other", errors.New("other"), false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if IsNotFound(test.err) != test.notFound || IsUnavailable(test.err) != test.unavailable || IsCanceled(test.err) != test.canceled {
				t.Errorf("not found %v, unavailable %v, canceled %v", IsNotFound(test.err), IsUnavailable(test.err), IsCanceled(test.err))
			}
		})
	}
	err := of(codes.NotFound, "no such container")
	if got, want := err.Error(), "StopContainer id: rpc error: code = NotFound desc = no such container"; got != want {
		t.Errorf("got %q", got)
	}
	if got := Message(fmt.Errorf("pod: %w", err)); got != "no such container" {
		t.Errorf("message %q", got)
	}
	if got := Cause(err).Error(); got != "rpc error: code = NotFound desc = no such container" {
		t.Errorf("cause %q", got)
	}
}
