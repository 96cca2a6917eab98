// Package nodelifecycle looks after nodes that fall silent or say that they are not ready: it marks
// them and drives Pods away from them.
//
// # Guarantees
//
// A node whose Lease and Ready condition have stood still for 40 s is Unknown; only what this process
// itself has seen counts, so a restart or a clock that jumps gives every node its 40 s anew. Pods leave
// by the taints node.kubernetes.io/not-ready and unreachable, after as many seconds as they tolerate
// them. New Pods stay away as long as a taint is there.
//
// While no node at all is Ready, none is driven away: it is more likely that this server cannot hear
// them than that all are gone, and there is nowhere to go.
package nodelifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coordinationinformers "k8s.io/client-go/informers/coordination/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

const (
	// grace is how long a node may be silent. It renews its Lease every 10 s.
	grace   = 40 * time.Second
	byNode  = "nodelifecycle.spec.nodeName"
	workers = 4
)

// Deps are what the controller works with.
type Deps struct {
	Client kubernetes.Interface // may update nodes and their status, patch pods/status, delete pods
	Nodes  coreinformers.NodeInformer
	Pods   coreinformers.PodInformer
	Leases coordinationinformers.LeaseInformer
	Events record.EventRecorder
	Clock  clock.PassiveClock // the system's if nil
}

// Controller is made by [New] and runs once.
type Controller struct {
	deps     Deps
	queue    *queue.Queue[string] // of Nodes
	listener listen.Listener

	mu    sync.Mutex
	heard map[string]heard                // by Node
	since map[string]map[string]time.Time // by Node and taint: when one without a time was first seen
	ready map[string]bool                 // Nodes that are
}

// New subscribes to the informers, which their owner starts.
func New(deps Deps) (*Controller, error) {
	if deps.Clock == nil {
		deps.Clock = clock.RealClock{}
	}
	c := &Controller{deps: deps, heard: map[string]heard{}, since: map[string]map[string]time.Time{}, ready: map[string]bool{}}
	c.queue = queue.New(c.sync)
	err := deps.Pods.Informer().AddIndexers(cache.Indexers{byNode: func(obj any) ([]string, error) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" {
			return nil, nil
		}
		return []string{pod.Spec.NodeName}, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("index Pods by node: %w", err)
	}
	c.listener.To(deps.Nodes.Informer(), listen.Keys(c.queue.Add))
	c.listener.To(deps.Pods.Informer(), listen.Objects(c.pod))
	c.listener.To(deps.Leases.Informer(), listen.Objects(c.lease))
	return c, c.listener.Err()
}

// pod has the Node of a Pod looked at, if it drives Pods away.
func (c *Controller) pod(pod *corev1.Pod) {
	if node, err := c.deps.Nodes.Lister().Get(pod.Spec.NodeName); err == nil && len(driving(node)) > 0 {
		c.queue.Add(node.Name)
	}
}

// lease notes a heartbeat. It is worth a look at the Node only if it was thought to be gone.
func (c *Controller) lease(lease *coordinationv1.Lease) {
	if lease.Namespace != corev1.NamespaceNodeLease {
		return
	}
	if node, err := c.deps.Nodes.Lister().Get(lease.Name); err == nil {
		c.listen(node)
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if c.listener.Synced(ctx) {
		if err := c.begin(); err != nil {
			return err
		}
		c.queue.Run(ctx, workers)
	}
	return nil
}

// begin takes over the office: everybody's time begins now.
func (c *Controller) begin() error {
	nodes, err := c.deps.Nodes.Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list Nodes: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.heard)
	for _, node := range nodes {
		if isReady(node) {
			c.ready[node.Name] = true
		}
	}
	return nil
}

// anyReady notes whether a Node is Ready and tells whether any is. When the last one no longer is, or
// the first one is again, all others are looked at anew.
func (c *Controller) anyReady(ctx context.Context, name string, ready bool) (bool, error) {
	c.mu.Lock()
	before := len(c.ready) > 0
	if ready {
		c.ready[name] = true
	} else {
		delete(c.ready, name)
	}
	now := len(c.ready) > 0
	c.mu.Unlock()
	if before == now {
		return now, nil
	}
	klog.FromContext(ctx).Info("Whether Pods leave nodes that are not Ready", "now", now, "because", name)
	nodes, err := c.deps.Nodes.Lister().List(labels.Everything())
	if err != nil {
		return now, fmt.Errorf("list Nodes: %w", err)
	}
	for _, other := range nodes {
		if other.Name != name {
			c.queue.Add(other.Name)
		}
	}
	return now, nil
}

// listen notes what is heard of a node and returns how long ago there was something new.
func (c *Controller) listen(node *corev1.Node) time.Duration {
	now := heard{uid: node.UID}
	if ready := condition(&node.Status, corev1.NodeReady); ready != nil && ready.Status != corev1.ConditionUnknown {
		now.heartbeat = ready.LastHeartbeatTime
	}
	lease, err := c.deps.Leases.Lister().Leases(corev1.NamespaceNodeLease).Get(node.Name)
	if err == nil && lease.Spec.RenewTime != nil {
		now.renewed = *lease.Spec.RenewTime
	}
	now.at = c.deps.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.heard[node.Name]
	if known && before.uid == now.uid {
		if now.heartbeat.IsZero() { // taken away, as Unknown does: that is no sign of life
			now.heartbeat = before.heartbeat
		}
		if now.renewed.IsZero() {
			now.renewed = before.renewed
		}
		if now.renewed.Equal(&before.renewed) && now.heartbeat.Equal(&before.heartbeat) {
			return now.at.Sub(before.at)
		}
	}
	c.heard[node.Name] = now
	return 0
}

func (c *Controller) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.heard, name)
	delete(c.since, name)
}

func (c *Controller) sync(ctx context.Context, name string) error {
	node, err := c.deps.Nodes.Lister().Get(name)
	if apierrors.IsNotFound(err) {
		c.forget(name)
		_, err := c.anyReady(ctx, name, false)
		return err
	}
	if err != nil {
		return fmt.Errorf("get Node %s: %w", name, err)
	}
	node = node.DeepCopy()
	ago := c.listen(node)
	if ago >= grace {
		if node, err = c.mark(ctx, node); node == nil || err != nil {
			return err
		}
	} else {
		c.queue.AddAfter(name, grace-ago)
	}
	drive, err := c.anyReady(ctx, name, isReady(node))
	if err != nil {
		return err
	}
	if err := c.taint(ctx, node, drive); err != nil {
		return err
	}
	if ready := condition(&node.Status, corev1.NodeReady); ready != nil && ready.Status != corev1.ConditionTrue {
		if err := c.unready(ctx, node); err != nil {
			return err
		}
	}
	return c.evict(ctx, node)
}

// mark says of a silent node that nothing is known. It returns nil if the Node is another one by now.
func (c *Controller) mark(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	if !silent(&node.Status, node.CreationTimestamp, c.deps.Clock.Now()) {
		return node, nil
	}
	updated, err := c.deps.Client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil, nil // its event is on the way
	}
	if err != nil {
		return nil, fmt.Errorf("mark Node %s as unknown: %w", node.Name, err)
	}
	c.deps.Events.Eventf(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: types.UID(node.Name)},
		corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	return updated, nil
}

// taint brings the taints in line with the conditions; drive: with those that Pods leave by.
func (c *Controller) taint(ctx context.Context, node *corev1.Node, drive bool) error {
	wanted := taints(node, drive, c.deps.Clock.Now())
	if sameTaints(wanted, node.Spec.Taints) {
		return nil
	}
	// Whole, and only as the version that was read: others write taints too.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": wanted},
	})
	if err != nil {
		return fmt.Errorf("encode taints: %w", err)
	}
	updated, err := c.deps.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		c.queue.AddAfter(node.Name, time.Second) // its event is on the way, and this is if it is not
		return nil
	}
	if err != nil {
		return fmt.Errorf("taint Node %s: %w", node.Name, err)
	}
	updated.DeepCopyInto(node)
	return nil
}

// pods are those of a Node.
func (c *Controller) pods(node string) ([]*corev1.Pod, error) {
	found, err := c.deps.Pods.Informer().GetIndexer().ByIndex(byNode, node)
	if err != nil {
		return nil, fmt.Errorf("look up Pods of Node %s: %w", node, err)
	}
	pods := make([]*corev1.Pod, 0, len(found))
	for _, obj := range found {
		if pod, ok := obj.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}
