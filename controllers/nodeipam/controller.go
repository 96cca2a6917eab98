// Package nodeipam gives every Node its block of Pod addresses in each family (spec.podCIDRs), and
// takes it back when the Node is gone (behaviour.md, D1).
//
// # Guarantees
//
// A Node gets a block of every family or none. No two Nodes have one block: what Nodes have is read
// before anything is given, one goroutine gives, and a Node's block is never changed (D1.6).
package nodeipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// Deps are what the controller works with.
type Deps struct {
	Client kubernetes.Interface // may patch nodes
	Nodes  coreinformers.NodeInformer
	Events record.EventRecorder
}

// Config comes from the server's flags.
type Config struct {
	// Pods are the ranges of Pod addresses, one or two of different families, in the order that
	// podCIDRs has.
	Pods []netip.Prefix
	// Services are ranges that no Node may get a part of, should they overlap (D1.4).
	Services []netip.Prefix
}

// Controller is the node-ipam-controller.
type Controller struct {
	deps     Deps
	queue    *queue.Queue[string]
	listener listen.Listener

	// Owned by the one worker.
	pools pools
	held  map[string][]netip.Prefix // by Node
}

// New checks the ranges; a range that cannot be divided is an error that names it.
func New(deps Deps, config Config) (*Controller, error) {
	c := &Controller{deps: deps, held: map[string][]netip.Prefix{}}
	for _, r := range config.Pods {
		p, err := newPool(r)
		if err != nil {
			return nil, err
		}
		c.pools = append(c.pools, p)
	}
	c.pools.occupy(config.Services)
	c.queue = queue.New(c.sync)
	c.listener.To(deps.Nodes.Informer(), listen.Keys(c.queue.Add))
	return c, c.listener.Err()
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if !c.listener.Synced(ctx) {
		return nil
	}
	nodes, err := c.deps.Nodes.Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list Nodes: %w", err)
	}
	for _, n := range nodes {
		c.hold(n)
	}
	c.queue.Run(ctx, 1)
	return nil
}

// hold notes what a Node has.
func (c *Controller) hold(n *corev1.Node) {
	c.held[n.Name] = parse(n.Spec.PodCIDRs)
	c.pools.occupy(c.held[n.Name])
}

func (c *Controller) sync(ctx context.Context, name string) error {
	node, err := c.deps.Nodes.Lister().Get(name)
	switch {
	case apierrors.IsNotFound(err):
		c.pools.free(c.held[name])
		delete(c.held, name)
		return c.wakeWaiting()
	case err != nil:
		return fmt.Errorf("get Node %s: %w", name, err)
	case len(node.Spec.PodCIDRs) > 0:
		if len(c.held[name]) == 0 {
			c.hold(node)
		}
		return nil
	}
	if len(c.held[name]) == 0 {
		blocks, err := c.pools.allocate()
		if err != nil {
			c.deps.Events.Eventf(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: types.UID(name)},
				corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", name)
			return err
		}
		c.held[name] = blocks
	}
	return c.write(ctx, node)
}

// wakeWaiting has the Nodes looked at that found no block: one has come free.
func (c *Controller) wakeWaiting() error {
	nodes, err := c.deps.Nodes.Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list Nodes: %w", err)
	}
	for _, n := range nodes {
		if len(n.Spec.PodCIDRs) == 0 {
			c.queue.Add(n.Name)
		}
	}
	return nil
}

// write tells the Node what is held for it. A failure leaves it held: the next try writes the same.
func (c *Controller) write(ctx context.Context, node *corev1.Node) error {
	var cidrs []string
	for _, b := range c.held[node.Name] {
		cidrs = append(cidrs, b.String())
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs},
	})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = c.deps.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or another of that name: its event is on the way
	}
	if err != nil {
		return fmt.Errorf("set podCIDRs of Node %s: %w", node.Name, err)
	}
	return nil
}
