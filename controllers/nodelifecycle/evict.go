package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// unready says of the Pods of a node that is not ready that they are not either: nobody sends them
// connections then. The node itself says otherwise when it is back. A Pod that cannot be written keeps
// no other.
func (c *Controller) unready(ctx context.Context, node *corev1.Node) error {
	pods, err := c.pods(node.Name)
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		for _, condition := range pod.Status.Conditions {
			if condition.Type != corev1.PodReady || condition.Status != corev1.ConditionTrue {
				continue
			}
			err := c.setCondition(ctx, pod, corev1.PodCondition{
				Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(c.deps.Clock.Now()),
			})
			if err != nil {
				errs = append(errs, err)
				continue
			}
			c.deps.Events.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) setCondition(ctx context.Context, pod *corev1.Pod, condition corev1.PodCondition) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{condition}},
	})
	if err != nil {
		return fmt.Errorf("encode a condition: %w", err)
	}
	_, err = c.deps.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("set condition %s of Pod %s/%s: %w", condition.Type, pod.Namespace, pod.Name, err)
	}
	return nil
}

// evict deletes the Pods of a Node whose time is over and comes back for the next. One that cannot be
// deleted keeps no other.
func (c *Controller) evict(ctx context.Context, node *corev1.Node) error {
	taints := driving(node)
	since := c.firstSeen(node.Name, taints)
	if len(taints) == 0 {
		return nil
	}
	pods, err := c.pods(node.Name)
	if err != nil {
		return err
	}
	now := c.deps.Clock.Now()
	var next time.Time
	var errs []error
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		at, found := leaves(pod, taints, since)
		switch {
		case !found:
		case !now.Before(at):
			errs = append(errs, c.delete(ctx, pod))
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	if !next.IsZero() {
		c.queue.AddAfter(node.Name, next.Sub(now))
	}
	return errors.Join(errs...)
}

// firstSeen notes when taints without a time were first seen, and forgets those that have gone.
func (c *Controller) firstSeen(node string, taints []corev1.Taint) func(*corev1.Taint) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]time.Time{}
	for _, t := range taints {
		at, ok := c.since[node][t.Key+"="+t.Value]
		if !ok {
			at = c.deps.Clock.Now()
		}
		seen[t.Key+"="+t.Value] = at
	}
	if c.since[node] = seen; len(seen) == 0 {
		delete(c.since, node)
	}
	return func(t *corev1.Taint) time.Time { return seen[t.Key+"="+t.Value] }
}

func (c *Controller) delete(ctx context.Context, pod *corev1.Pod) error {
	c.deps.Events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	err := c.setCondition(ctx, pod, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(c.deps.Clock.Now()),
	})
	if err != nil {
		return err
	}
	err = c.deps.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evict Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
