package node

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/cri"
)

// service shows the runtime in the shape of CRI's own interface, for parts that talk to no other.
type service struct{ runtime *cri.Runtime }

func (s service) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: s.runtime.Name, RuntimeVersion: s.runtime.Version}, nil
}

func (s service) Status(ctx context.Context, _ bool) (*runtimeapi.StatusResponse, error) {
	status, err := s.runtime.Status(ctx)
	return &runtimeapi.StatusResponse{Status: status}, err
}

func (s service) ListImages(ctx context.Context, _ *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return s.runtime.ListImages(ctx)
}

func (s service) ContainerStatus(ctx context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	status, err := s.runtime.ContainerStatus(ctx, id)
	return &runtimeapi.ContainerStatusResponse{Status: status}, err
}

func (s service) Exec(ctx context.Context, request *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	url, err := s.runtime.Exec(ctx, request)
	return &runtimeapi.ExecResponse{Url: url}, err
}

func (s service) Attach(ctx context.Context, request *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	url, err := s.runtime.Attach(ctx, request)
	return &runtimeapi.AttachResponse{Url: url}, err
}

func (s service) ReopenContainerLog(ctx context.Context, id string) error {
	return s.runtime.ReopenLog(ctx, id)
}

func (s service) NetworkNamespace(ctx context.Context, sandbox string) (string, error) {
	return s.runtime.NetworkNamespace(ctx, sandbox)
}
