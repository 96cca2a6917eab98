package node

import (
	"context"
	"fmt"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// pullImage makes sure that the image of a container's next start is there.
func (w *worker) pullImage(ctx context.Context, name string) {
	pod, c, r := w.pod, spec(w.pod, name), w.underwayOf(name)
	w.container(name, func(c *podstate.Container) { c.Image.Busy = true })
	ctx, cancel := context.WithCancel(ctx)
	r.cancelStart = cancel
	w.after(ctx, func(ctx context.Context) note {
		defer cancel()
		image, failed := w.haveImage(ctx, pod, c)
		return func(ctx context.Context) {
			r.cancelStart, r.image = nil, image
			w.container(name, func(known *podstate.Container) {
				known.Image.Busy, known.Image.Done = false, failed == nil
				if failed == nil {
					known.Image.Failed = nil
				} else {
					known.Image.Failed = w.failure(known.Image, failed.Reason, failed.Message)
				}
			})
		}
	})
}

// haveImage follows the pull policy.
func (w *worker) haveImage(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*runtimeapi.Image, *refusal) {
	wanted, err := tagged(c.Image)
	if err != nil {
		r := &refusal{"InvalidImageName", fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", c.Image, c.Image, err)}
		w.warnAbout(pod, c, "InspectFailed", r.Message)
		return nil, r
	}
	present, err := w.runtime.Image(ctx, wanted)
	if err != nil {
		r := &refusal{"ImageInspectError", fmt.Sprintf("Failed to inspect image %q: %v", wanted, cri.Cause(err))}
		w.warnAbout(pod, c, "Failed", r.Message)
		return nil, r
	}
	switch {
	case present != nil && c.ImagePullPolicy != corev1.PullAlways:
		w.eventAbout(pod, c, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.Image))
		return present, nil
	case c.ImagePullPolicy == corev1.PullNever:
		r := &refusal{"ErrImageNeverPull", fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)}
		w.warnAbout(pod, c, "ErrImageNeverPull", r.Message)
		w.warnAbout(pod, c, "Failed", "Error: ErrImageNeverPull")
		return nil, r
	}
	return w.fetch(ctx, pod, c, wanted)
}

// fetch pulls, with each of the Pod's credentials until one is good.
func (w *worker) fetch(ctx context.Context, pod *corev1.Pod, c *corev1.Container, wanted string) (*runtimeapi.Image, *refusal) {
	w.eventAbout(pod, c, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	began := w.clock.Now()
	var id string
	var err error
	for _, auth := range w.credentials(ctx, pod, wanted) {
		if id, err = w.runtime.PullImage(ctx, wanted, auth, nil); err == nil {
			break
		}
	}
	var image *runtimeapi.Image
	if err == nil {
		image, err = w.runtime.Image(ctx, id)
	}
	if err == nil && image == nil {
		err = fmt.Errorf("image %q was removed after it had been pulled", c.Image)
	}
	if err != nil {
		r := &refusal{"ErrImagePull", cri.Cause(err).Error()}
		if ctx.Err() == nil {
			w.warnAbout(pod, c, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.Image, r.Message))
			w.warnAbout(pod, c, "Failed", "Error: ErrImagePull")
		}
		return nil, r
	}
	took := w.clock.Since(began).Truncate(time.Millisecond)
	w.eventAbout(pod, c, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", c.Image, took, took, image.GetSize()))
	return image, nil
}

// tagged gives an image without tag and digest the tag that everybody means.
func tagged(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", err
	}
	if !reference.IsNameOnly(named) {
		return image, nil
	}
	return image + ":latest", nil
}
