// Package podgc removes Pods that nobody will ever finish: those of Nodes that are gone, and those
// that were deleted before they had a node. Of Pods that have ended it keeps the newest 12,500.
//
// # Guarantees
//
// A Pod is removed only when its Node has been missing for 40 s and the API says so itself: a Node
// that is made anew under its name keeps its Pods. Pods that had not ended are Failed before they go.
package podgc

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

const (
	// quarantine is how long a Node has to be missing.
	quarantine = 40 * time.Second
	// mostEnded is how many Pods that have ended are kept, as upstream's terminated-pod-gc-threshold.
	mostEnded = 12500
)

// Deps are what the controller works with.
type Deps struct {
	Client kubernetes.Interface // may get nodes, patch pods/status, delete pods
	Nodes  coreinformers.NodeInformer
	Pods   coreinformers.PodInformer
	Clock  clock.PassiveClock // the system's if nil
}

// Controller is made by [New] and runs once.
type Controller struct {
	deps     Deps
	queue    *queue.Queue[types.NamespacedName] // of Pods
	listener listen.Listener
	// missing is since when a Node has been missed; one worker uses it.
	missing map[string]time.Time
	// mostEnded may be other in tests.
	mostEnded int

	mu    sync.Mutex
	ended map[types.NamespacedName]time.Time // Pods that have, and when they were made
}

// New subscribes to the informers, which their owner starts.
func New(deps Deps) (*Controller, error) {
	if deps.Clock == nil {
		deps.Clock = clock.RealClock{}
	}
	c := &Controller{deps: deps, missing: map[string]time.Time{}, mostEnded: mostEnded, ended: map[types.NamespacedName]time.Time{}}
	c.queue = queue.New(c.sync)
	c.listener.To(deps.Pods.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: c.pod, UpdateFunc: func(_, obj any) { c.pod(obj) }, DeleteFunc: c.podGone,
	})
	c.listener.To(deps.Nodes.Informer(), cache.ResourceEventHandlerFuncs{DeleteFunc: c.nodeGone})
	return c, c.listener.Err()
}

// pod has a Pod looked at that may be nobody's.
func (c *Controller) pod(obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	c.count(pod)
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

// surplus is what the queue calls the work on Pods that have ended; no Pod has that key.
var surplus = types.NamespacedName{}

// count takes note of a Pod that has ended.
func (c *Controller) count(pod *corev1.Pod) {
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !hasEnded(pod) {
		delete(c.ended, key) // another one of that name
		return
	}
	c.ended[key] = pod.CreationTimestamp.Time
	if len(c.ended) > c.mostEnded {
		c.queue.Add(surplus)
	}
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func (c *Controller) podGone(obj any) {
	key, err := cache.DeletionHandlingObjectToName(obj)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ended, types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
}

// oldest are the Pods that have ended and are too many, the oldest first.
func (c *Controller) oldest() []types.NamespacedName {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := slices.Collect(maps.Keys(c.ended))
	slices.SortFunc(keys, func(a, b types.NamespacedName) int {
		return cmp.Or(c.ended[a].Compare(c.ended[b]), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return keys[:max(0, len(keys)-c.mostEnded)]
}

// trim removes them.
func (c *Controller) trim(ctx context.Context) error {
	for _, key := range c.oldest() {
		pod, err := c.deps.Pods.Lister().Pods(key.Namespace).Get(key.Name)
		if err != nil || !hasEnded(pod) {
			continue // gone already, or another one: its event is on the way
		}
		if err := c.remove(ctx, pod, ""); err != nil {
			return err
		}
	}
	return nil
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
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, 1)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, key types.NamespacedName) error {
	if key == surplus {
		return c.trim(ctx)
	}
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
	if !hasEnded(pod) {
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
