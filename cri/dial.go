package cri

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A runtime that was killed is back in 50-150 ms: asking again costs nothing, waiting does.
var reconnect = backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: time.Second}

// maxMessage is what the largest list of containers may weigh.
const maxMessage = 16 << 20

// Runtime is a connection to a container runtime, which may go away and come back.
type Runtime struct {
	conn   *grpc.ClientConn
	pods   runtimeapi.RuntimeServiceClient
	images runtimeapi.ImageServiceClient
	// Name and Version of the runtime that answered Dial, such as "containerd" and "1.6.20".
	Name, Version string
}

// Dial connects to the runtime that listens on socket, a path, and waits until it answers or ctx
// ends.
func Dial(ctx context.Context, socket string) (*Runtime, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("cri: connect to %s: %w", socket, err)
	}
	r := &Runtime{conn: conn, pods: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn)}
	version, err := r.version(ctx)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cri: %s: %w", socket, err)
	}
	r.Name, r.Version = version.GetRuntimeName(), version.GetRuntimeVersion()
	return r, nil
}

// version waits until the runtime answers. A runtime that listens already but has not loaded its
// CRI service yet says Unimplemented for a moment: that too is waited for.
func (r *Runtime) version(ctx context.Context) (*runtimeapi.VersionResponse, error) {
	for {
		answer, err := r.pods.Version(ctx, &runtimeapi.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil {
			return answer, nil
		}
		if !isNotYet(err) {
			return nil, failed("Version", "", err)
		}
		select {
		case <-ctx.Done():
			return nil, failed("Version", "", err)
		case <-time.After(reconnect.BaseDelay):
		}
	}
}

// Close ends the connection; calls under way fail.
func (r *Runtime) Close() error { return r.conn.Close() }

// Status of the runtime, with its conditions RuntimeReady and NetworkReady.
func (r *Runtime) Status(ctx context.Context) (*runtimeapi.RuntimeStatus, error) {
	answer, err := r.pods.Status(ctx, &runtimeapi.StatusRequest{})
	return answer.GetStatus(), failed("Status", "", err)
}
