// Package endpointslice publishes the Pods that a Service selects as EndpointSlices, one set of
// slices for each family of the Service (behaviour.md, D4.1-D4.5). What goes into which slice is
// worked out by k8s.io/endpointslice; this package decides when.
//
// # Guarantees
//
// A Service's slices follow a change of its Pods at once; while the controller has not yet seen its
// own last write it waits for that instead of writing over it.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice"
	endpointutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/byservice"
	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
	"github.com/duetk8s/duet/controllers/selection"
)

const (
	// ManagedBy is the label of the slices that are this controller's.
	ManagedBy = "endpointslice-controller.k8s.io"
	// maxEndpoints in a slice (D4.4).
	maxEndpoints = 100
	// workers write two slices at a time each; more of them would only take the time of those who create
	// the Services.
	workers = 2
)

// Deps are what the controller works with. The caller starts the informers after New.
type Deps struct {
	Client   kubernetes.Interface // may write endpointslices
	Services coreinformers.ServiceInformer
	Pods     coreinformers.PodInformer
	Nodes    coreinformers.NodeInformer
	Slices   discoveryinformers.EndpointSliceInformer
	Events   record.EventRecorder
}

// Controller is the endpointslice-controller.
type Controller struct {
	deps       Deps
	queue      *queue.Queue[string]
	reconciler *endpointslice.Reconciler
	written    *endpointutil.EndpointSliceTracker
	triggers   *endpointutil.TriggerTimeTracker
	slices     byservice.Slices
	listener   listen.Listener
}

// New registers with the informers.
func New(deps Deps) (*Controller, error) {
	c := &Controller{
		deps: deps, written: endpointutil.NewEndpointSliceTracker(), triggers: endpointutil.NewTriggerTimeTracker(),
	}
	c.queue = queue.New(c.sync)
	c.reconciler = endpointslice.NewReconciler(deps.Client, deps.Nodes.Lister(), maxEndpoints, c.written, nil, deps.Events,
		ManagedBy, endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	selectors, err := selection.New(deps.Services.Informer())
	if err != nil {
		return nil, err
	}
	if c.slices, err = byservice.New(deps.Slices.Informer()); err != nil {
		return nil, err
	}
	c.listener.To(deps.Services.Informer(), listen.Keys(c.queue.Add))
	c.listener.To(deps.Pods.Informer(), selectors.Pods(c.queue.Add))
	c.listener.To(deps.Nodes.Informer(), c.nodes())
	c.listener.To(deps.Slices.Informer(), c.changes())
	return c, c.listener.Err()
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, workers)
	}
	return nil
}

// nodes looks at every Service again when a Node comes or moves to another zone: endpoints carry
// their zone, and those on a Node that is not known yet are left out.
func (c *Controller) nodes() cache.ResourceEventHandler {
	all := func() {
		for _, key := range c.deps.Services.Informer().GetIndexer().ListKeys() {
			c.queue.Add(key)
		}
	}
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(_ any, initial bool) {
			if !initial {
				all()
			}
		},
		UpdateFunc: func(old, obj any) {
			if old.(*corev1.Node).Labels[corev1.LabelTopologyZone] != obj.(*corev1.Node).Labels[corev1.LabelTopologyZone] {
				all()
			}
		},
	}
}

// changes looks at a Service again when somebody else changed its slices.
func (c *Controller) changes() cache.ResourceEventHandler {
	wake := func(slice *discoveryv1.EndpointSlice) {
		if key := byservice.Key(slice); key != "" {
			c.queue.Add(key)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if slice := obj.(*discoveryv1.EndpointSlice); c.reconciler.ManagedByController(slice) && c.written.ShouldSync(slice) {
				wake(slice)
			}
		},
		UpdateFunc: func(old, obj any) {
			before, slice := old.(*discoveryv1.EndpointSlice), obj.(*discoveryv1.EndpointSlice)
			if before.Labels[discoveryv1.LabelServiceName] != slice.Labels[discoveryv1.LabelServiceName] {
				wake(before)
				wake(slice)
				return
			}
			ours := c.reconciler.ManagedByController(slice) && c.written.ShouldSync(slice)
			if ours || c.reconciler.ManagedByChanged(before, slice) {
				wake(slice)
			}
		},
		DeleteFunc: func(obj any) {
			slice, ok := listen.Last(obj).(*discoveryv1.EndpointSlice)
			if ok && c.reconciler.ManagedByController(slice) && c.written.Has(slice) && !c.written.HandleDeletion(slice) {
				wake(slice) // not by us
			}
		},
	}
}

// errStale makes a Service come back in a moment.
var errStale = errors.New("the own writes are not all seen yet")

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	svc, err := c.deps.Services.Lister().Services(namespace).Get(name)
	if apierrors.IsNotFound(err) { // its slices go with their owner
		c.triggers.DeleteService(namespace, name)
		c.reconciler.DeleteService(namespace, name)
		c.written.DeleteService(namespace, name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Service %s: %w", key, err)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName || len(svc.Spec.Selector) == 0 || svc.DeletionTimestamp != nil {
		return nil // D4.5
	}
	pods, err := c.deps.Pods.Lister().Pods(namespace).List(labels.SelectorFromValidatedSet(svc.Spec.Selector))
	if err != nil {
		return fmt.Errorf("list the Pods of Service %s: %w", key, err)
	}
	slices := c.own(key)
	if c.written.StaleSlices(svc, slices) {
		return errStale
	}
	// Not before the slices are known to be fresh: the trigger's time can be asked for only once.
	trigger := c.triggers.ComputeEndpointLastChangeTriggerTime(namespace, svc, pods)
	if err := c.write(ctx, svc, pods, slices, trigger); err != nil {
		return fmt.Errorf("publish endpoints of Service %s: %w", key, err)
	}
	return nil
}

// write brings a Service's slices to what is wanted, those of both families at the same time: the
// Reconciler by itself would begin with the second family when the first is on etcd's disk.
func (c *Controller) write(ctx context.Context, svc *corev1.Service, pods []*corev1.Pod, slices []*discoveryv1.EndpointSlice, trigger time.Time) error {
	var group errgroup.Group
	for len(svc.Spec.IPFamilies) > 1 {
		first, rest := *svc, *svc
		first.Spec.IPFamilies, rest.Spec.IPFamilies = svc.Spec.IPFamilies[:1], svc.Spec.IPFamilies[1:]
		its, others := divide(slices, svc.Spec.IPFamilies[0])
		group.Go(func() error { return c.reconciler.Reconcile(klog.FromContext(ctx), &first, pods, its, trigger) })
		svc, slices = &rest, others
	}
	return errors.Join(c.reconciler.Reconcile(klog.FromContext(ctx), svc, pods, slices, trigger), group.Wait())
}

// divide separates the slices of a family from all others.
func divide(all []*discoveryv1.EndpointSlice, family corev1.IPFamily) (its, others []*discoveryv1.EndpointSlice) {
	for _, s := range all {
		if string(s.AddressType) == string(family) {
			its = append(its, s)
		} else {
			others = append(others, s)
		}
	}
	return its, others
}

// own returns the slices of a Service that this controller has made.
func (c *Controller) own(key string) (out []*discoveryv1.EndpointSlice) {
	for _, slice := range c.slices.Of(key) {
		if slice.Labels[discoveryv1.LabelManagedBy] == ManagedBy && slice.DeletionTimestamp == nil {
			out = append(out, slice)
		}
	}
	return out
}
