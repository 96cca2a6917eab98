package cri

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/metadata"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Real-time signals as the C library counts them: the kernel's first two are its own.
const (
	firstRealTime = 34
	lastRealTime  = 64
)

// number of a signal, 0 for none: SIGNAL_SIGUSR1 is 10, SIGNAL_SIGRTMINPLUS2 36.
func number(signal runtimeapi.Signal) uint32 {
	name := strings.TrimPrefix(signal.String(), "SIGNAL_")
	switch name {
	case "SIGRTMIN":
		return firstRealTime
	case "SIGRTMAX":
		return lastRealTime
	case "SIGCLD":
		name = "SIGCHLD"
	case "SIGIOT":
		name = "SIGABRT"
	case "SIGPOLL":
		name = "SIGIO"
	}
	if text, ok := strings.CutPrefix(name, "SIGRTMINPLUS"); ok {
		n, _ := strconv.ParseUint(text, 10, 8)
		return firstRealTime + uint32(n)
	}
	if text, ok := strings.CutPrefix(name, "SIGRTMAXMINUS"); ok {
		n, _ := strconv.ParseUint(text, 10, 8)
		return lastRealTime - uint32(n)
	}
	return uint32(unix.SignalNum(name)) //nolint:gosec // not negative
}

// endBy sends a signal by containerd's own service, which CRI has nothing like, and waits for the
// end, for as long as grace. What fails here is left to CRI.
func (r *Runtime) endBy(ctx context.Context, id string, signal uint32, grace time.Duration) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "k8s.io"), grace)
	defer cancel()
	service := tasks.NewTasksClient(r.conn)
	if _, err := service.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: signal}); err == nil {
		_, _ = service.Wait(ctx, &tasks.WaitRequest{ContainerID: id})
	}
}
