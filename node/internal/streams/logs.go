package streams

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/node/internal/streams/crilog"
)

// containerLogs serves /containerLogs/NAMESPACE/POD/CONTAINER with the query that `kubectl logs`
// makes: follow, previous, sinceSeconds, sinceTime, timestamps, tailLines, limitBytes, stream.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	options, previous, err := logOptions(r.URL.Query(), s.config.Clock.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	name := r.PathValue("container")
	pod, ok := s.config.Pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	if !hasContainer(pod, name) {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", name, pod.Name), http.StatusNotFound)
		return
	}
	id, file, ok := s.config.Pods.Container(pod.UID, name)
	if !ok {
		http.Error(w, waiting(pod, name), http.StatusBadRequest)
		return
	}
	if previous {
		if file, ok = crilog.Previous(file); !ok {
			http.Error(w, fmt.Sprintf("previous terminated container %q in pod %q not found", name, pod.Name), http.StatusBadRequest)
			return
		}
		options.Follow = false // it has ended
	}
	control := http.NewResponseController(w)
	options.Flush = func() { _ = control.Flush() } // whoever has left is seen at the next write
	options.Alive = func(ctx context.Context) (bool, error) { return s.alive(ctx, id) }
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	options.Flush()
	if err := crilog.Copy(r.Context(), file, options, w); err != nil && r.Context().Err() == nil {
		// It is too late for an error: what was sent is all there is.
		klog.FromContext(r.Context()).Error(err, "Log not served", "pod", klog.KObj(pod), "container", name)
	}
}

// alive: the runtime says that a container has exited once everything it printed is in the file.
func (s *Server) alive(ctx context.Context, id string) (bool, error) {
	answer, err := s.config.Runtime.ContainerStatus(ctx, id, false)
	if status.Code(err) == codes.NotFound {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	return answer.GetStatus().GetState() != cri.ContainerState_CONTAINER_EXITED, nil
}

// logOptions reads the query. Errors have the words of the API's validation.
func logOptions(q url.Values, now time.Time) (o crilog.Options, previous bool, err error) {
	number := func(key string, absent, least int64) int64 {
		text := q.Get(key)
		if text == "" || err != nil {
			return absent
		}
		n, parseErr := strconv.ParseInt(text, 10, 64)
		switch {
		case parseErr != nil:
			err = fmt.Errorf("%s: Invalid value: %q: must be a number", key, text)
		case n < least && least == 0:
			err = fmt.Errorf("%s: Invalid value: %d: must be greater than or equal to 0", key, n)
		case n < least:
			err = fmt.Errorf("%s: Invalid value: %d: must be greater than 0", key, n)
		}
		return n
	}
	flag := func(key string) bool { v, _ := strconv.ParseBool(q.Get(key)); return v }
	o = crilog.Options{
		Follow: flag("follow"), Timestamps: flag("timestamps"),
		Tail: number("tailLines", -1, 0), Limit: number("limitBytes", -1, 1),
	}
	if q.Get("sinceSeconds") != "" {
		o.Since = now.Add(-time.Duration(number("sinceSeconds", 0, 1)) * time.Second)
		if q.Get("sinceTime") != "" {
			return o, false, fmt.Errorf("at most one of `sinceTime` or `sinceSeconds` may be specified")
		}
	}
	if text := q.Get("sinceTime"); text != "" && err == nil {
		if o.Since, err = time.Parse(time.RFC3339, text); err != nil {
			err = fmt.Errorf("sinceTime: Invalid value: %q: must be a time like 2006-01-02T15:04:05Z", text)
		}
	}
	switch stream := q.Get("stream"); stream {
	case "", "All":
	case "Stdout", "Stderr":
		o.Stream = strings.ToLower(stream)
	default:
		err = fmt.Errorf("stream: Unsupported value: %q: supported values: \"All\", \"Stderr\", \"Stdout\"", stream)
	}
	return o, flag("previous"), err
}

func hasContainer(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if c.Name == name {
				return true
			}
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return true
		}
	}
	return false
}

// waiting says why a container has no log, as upstream's node agent does.
func waiting(pod *corev1.Pod, name string) string {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for _, c := range list {
			if c.Name != name || c.State.Waiting == nil {
				continue
			}
			reason := c.State.Waiting.Reason
			switch reason {
			case "ErrImagePull":
				reason = "image can't be pulled"
			case "ImagePullBackOff":
				reason = "trying and failing to pull image"
			}
			return fmt.Sprintf("container %q in pod %q is waiting to start: %s", name, pod.Name, reason)
		}
	}
	return fmt.Sprintf("container %q in pod %q is not available", name, pod.Name)
}
