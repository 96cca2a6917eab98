// Package podgc removes Pods that nobody will ever finish: those of Nodes that are gone, and those
// that were deleted before they had a node.
//
// # Guarantees
//
// A Pod is removed only when its Node has been missing for 40 s and the API says so itself: a Node
// that is made anew under its name keeps its Pods. Pods that had not ended are Failed before they go.
package podgc

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/controllers/queue"
)

// quarantine is how long a Node has to be missing.
const quarantine = 40 * time.Second

// Deps are what the controller works with.
type Deps struct {
	Client kubernetes.Interface // may get nodes, patch pods/status, delete pods
	Nodes  coreinformers.NodeInformer
	Pods   coreinformers.PodInformer
	Clock  clock.PassiveClock // the system's if nil
}

// Controller is made by [New] and runs once.
type Controller struct {
	deps   Deps
	queue  *queue.Queue[types.NamespacedName] // of Pods
	synced []cache.DoneChecker
	// missing is since when a Node has been missed; one worker uses it.
	missing map[string]time.Time
}

// New subscribes to the informers, which their owner starts.
func New(deps Deps) (*Controller, error) {
	if deps.Clock == nil {
		deps.Clock = clock.RealClock{}
	}
	c := &Controller{deps: deps, missing: map[string]time.Time{}}
	c.queue = queue.New(c.sync)
	pods, err := deps.Pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: c.pod, UpdateFunc: func(_, obj any) { c.pod(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch Pods: %w", err)
	}
	nodes, err := deps.Nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: c.nodeGone})
	if err != nil {
		return nil, fmt.Errorf("watch Nodes: %w", err)
	}
	c.synced = []cache.DoneChecker{pods.HasSyncedChecker(), nodes.HasSyncedChecker()}
	return c, nil
}

// pod has a Pod looked at that may be nobody's.
func (c *Controller) pod(obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	if pod.Spec.NodeName == "" {
		if pod.DeletionTimestamp != nil {
			c.queue.Add(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
		}
		return
	}
	if _, err := c.deps.Nodes.Lister().Get(pod.Spec.NodeName); apierrors.IsNotFound(err) {
		c.queue.Add(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	}
}

func (c *Controller) nodeGone(obj any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return
	}
	for _, obj := range c.deps.Pods.Informer().GetStore().List() {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName == key {
			c.queue.Add(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
		}
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if cache.WaitFor(ctx, "", c.synced...) {
		c.queue.Run(ctx, 1)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, key types.NamespacedName) error {
	pod, err := c.deps.Pods.Lister().Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Pod %s: %w", key, err)
	}
	node := pod.Spec.NodeName
	if node == "" {
		if pod.DeletionTimestamp == nil {
			return nil
		}
		return c.remove(ctx, pod, "PodGC: unscheduled terminating pod")
	}
	if _, err := c.deps.Nodes.Lister().Get(node); !apierrors.IsNotFound(err) {
		delete(c.missing, node)
		return err //nolint:wrapcheck // nil, or what reading memory says
	}
	now := c.deps.Clock.Now()
	since, known := c.missing[node]
	if !known {
		since, c.missing[node] = now, now
	}
	if wait := quarantine - now.Sub(since); wait > 0 {
		c.queue.AddAfter(key, wait)
		return nil
	}
	_, err = c.deps.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	switch {
	case err == nil:
		delete(c.missing, node)
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get Node %s: %w", node, err)
	}
	return c.remove(ctx, pod, "PodGC: node no longer exists")
}

// remove deletes a Pod at once: there is no node that would end it.
func (c *Controller) remove(ctx context.Context, pod *corev1.Pod, why string) error {
	client := c.deps.Client.CoreV1().Pods(pod.Namespace)
	if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		status := map[string]any{"phase": corev1.PodFailed}
		if pod.Spec.NodeName != "" {
			status["conditions"] = []corev1.PodCondition{{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC",
				Message: why, LastTransitionTime: metav1.NewTime(c.deps.Clock.Now()),
			}}
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
		if err != nil {
			return fmt.Errorf("encode a status: %w", err)
		}
		_, err = client.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("mark Pod %s/%s as failed: %w", pod.Namespace, pod.Name, err)
		}
	}
	now := int64(0)
	err := client.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
