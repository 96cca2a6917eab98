package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Image finds an image by name or id; nil when the runtime does not have it.
func (r *Runtime) Image(ctx context.Context, image string) (*runtimeapi.Image, error) {
	answer, err := r.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: image}})
	if err != nil {
		return nil, absentIsFine(failed("ImageStatus", image, err))
	}
	return answer.GetImage(), nil
}

// PullImage fetches an image and gives its id. auth may be nil.
func (r *Runtime) PullImage(ctx context.Context, image string, auth *runtimeapi.AuthConfig, pod *runtimeapi.PodSandboxConfig) (id string, err error) {
	answer, err := r.images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: image}, Auth: auth, SandboxConfig: pod})
	return answer.GetImageRef(), failed("PullImage", image, err)
}

// ListImages gives all images of the runtime.
func (r *Runtime) ListImages(ctx context.Context) ([]*runtimeapi.Image, error) {
	answer, err := r.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	return answer.GetImages(), failed("ListImages", "", err)
}
