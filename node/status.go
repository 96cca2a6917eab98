package node

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/duetk8s/duet/node/internal/podstate"
)

// How long a write that failed waits for the next.
const (
	firstRewrite = 50 * time.Millisecond
	lastRewrite  = 10 * time.Second
)

// statusWriter holds what the API has been told about a Pod. One write is under way at a time; what
// changes meanwhile is in the next, so the API sees statuses in order and never an old one again.
type statusWriter struct {
	busy, deleted bool
	retry         time.Duration
	// shown is the status that was decided last, written the one that the API has confirmed.
	shown, written *corev1.PodStatus
	// version of the API's answer to the last write.
	version string
}

// seen is the Pod as the next decision is to see it: the API's, with this agent's own last word
// about its status.
func (w *worker) seen() *corev1.Pod {
	if w.status.shown == nil {
		return w.pod
	}
	pod := *w.pod
	pod.Status = *w.status.shown
	pod.Status.Conditions = slices.Clone(w.status.shown.Conditions)
	pod.Status.Conditions = slices.DeleteFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return !owned(c.Type) })
	for _, c := range w.pod.Status.Conditions {
		if !owned(c.Type) {
			pod.Status.Conditions = append(pod.Status.Conditions, c)
		}
	}
	return &pod
}

// owned tells whether a node is the one to say what a condition is.
func owned(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady:
		return true
	}
	return false
}

// compare looks whether somebody else has changed what only a node may say, as node lifecycle does
// with the Pods of a lost node: it is said again then.
func (s *statusWriter) compare(pod *corev1.Pod) {
	if s.written == nil || s.busy || pod.ResourceVersion == s.version {
		return
	}
	if !equality.Semantic.DeepEqual(ownPart(&pod.Status), ownPart(s.written)) {
		s.written = nil
	}
}

// ownPart of a status, in the API's precision.
func ownPart(s *corev1.PodStatus) *corev1.PodStatus {
	var part corev1.PodStatus
	data, err := json.Marshal(s)
	if err != nil || json.Unmarshal(data, &part) != nil {
		return nil
	}
	part.Conditions = slices.DeleteFunc(part.Conditions, func(c corev1.PodCondition) bool { return !owned(c.Type) })
	part.NominatedNodeName, part.QOSClass = "", ""
	return &part
}

// show has the API told of a status if it says anything new.
func (w *worker) show(ctx context.Context, status corev1.PodStatus) {
	s := &w.status
	s.shown = &status
	w.backoffEvents()
	if s.busy || s.written != nil && equality.Semantic.DeepEqual(s.written, &status) {
		return
	}
	patch, err := statusPatch(w.pod, &status)
	if err != nil {
		w.logger(ctx).Error(err, "A pod's status cannot be written")
		return
	}
	if patch == nil {
		s.written = &status
		return
	}
	s.busy = true
	pod, wait := w.pod, s.retry
	w.after(ctx, func(ctx context.Context) note {
		if !w.sleep(ctx, wait) {
			return nil
		}
		answer, err := w.api.Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		return func(ctx context.Context) { w.wrote(ctx, &status, answer, err) }
	})
}

// wrote notes how a write went.
func (w *worker) wrote(ctx context.Context, status *corev1.PodStatus, answer *corev1.Pod, err error) {
	s := &w.status
	s.busy = false
	switch {
	case err == nil:
		s.written, s.retry, s.version = status, 0, answer.ResourceVersion
		if !older(answer, w.pod) {
			w.pod = answer
		}
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		// Deleted, or another Pod of that name: the watch will say so.
		s.written = status
	default:
		s.retry = min(max(2*s.retry, firstRewrite), lastRewrite)
		if ctx.Err() == nil {
			w.logger(ctx).Error(err, "A pod's status could not be written, trying again", "in", s.retry)
		}
	}
}

// statusPatch is what makes the status of pod be next; nil if it is already. It names the Pod's
// UID: another Pod of the same name is left alone.
func statusPatch(pod *corev1.Pod, next *corev1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(corev1.Pod{Status: pod.Status})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(corev1.Pod{Status: *next})
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil || string(patch) == "{}" {
		return nil, err
	}
	var parsed map[string]any
	if err := json.Unmarshal(patch, &parsed); err != nil {
		return nil, err
	}
	parsed["metadata"] = map[string]any{"uid": pod.UID}
	return json.Marshal(parsed)
}

// leave removes the Pod from the API when its last status is there.
func (w *worker) leave(ctx context.Context) {
	s := &w.status
	if s.busy || !equality.Semantic.DeepEqual(s.written, s.shown) {
		return
	}
	s.busy = true
	pod, wait := w.pod, s.retry
	w.after(ctx, func(ctx context.Context) note {
		if !w.sleep(ctx, wait) {
			return nil
		}
		err := w.api.Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		return func(ctx context.Context) {
			s.busy = false
			if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				// With finalizers it stays in the API a while: no business of a node.
				s.deleted = true
				return
			}
			s.retry = min(max(2*s.retry, firstRewrite), lastRewrite)
			if ctx.Err() == nil {
				w.logger(ctx).Error(err, "A pod could not be deleted, trying again", "in", s.retry)
			}
		}
	})
}

// backoffEvents tells of containers and images that wait, once for each wait.
func (w *worker) backoffEvents() {
	if w.status.shown == nil {
		return
	}
	for _, list := range [][]corev1.ContainerStatus{w.status.shown.InitContainerStatuses, w.status.shown.ContainerStatuses} {
		for _, s := range list {
			known, r := w.o.Containers[s.Name], w.underwayOf(s.Name)
			if s.State.Waiting == nil || spec(w.pod, s.Name) == nil {
				continue
			}
			c := spec(w.pod, s.Name)
			switch s.State.Waiting.Reason {
			case "CrashLoopBackOff":
				if known.Current != nil && r.backoffShown != known.Current.FinishedAt {
					r.backoffShown = known.Current.FinishedAt
					w.warnAbout(w.pod, c, "BackOff", "Back-off restarting failed container "+s.Name+" in pod "+podstate.Name(w.pod))
				}
			case "ImagePullBackOff":
				if f := known.Image.Failed; f != nil && r.backoffShown != f.At {
					r.backoffShown = f.At
					w.eventAbout(w.pod, c, "BackOff", "Back-off pulling image \""+c.Image+"\"")
					w.warnAbout(w.pod, c, "Failed", "Error: ImagePullBackOff")
				}
			}
		}
	}
}
