package loadbalancer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// Deps are what the controller works with. The caller starts the informers after New, but for
// ConfigMap, which is run by Run.
type Deps struct {
	Client   kubernetes.Interface // may patch services/status
	Services coreinformers.ServiceInformer
	Nodes    coreinformers.NodeInformer
	CIDRs    networkinginformers.ServiceCIDRInformer
	// ConfigMap has ConfigMapName of kube-system only.
	ConfigMap cache.SharedIndexInformer
	Events    record.EventRecorder
}

// Config comes from the server's flags.
type Config struct {
	// Pools come before those of the ConfigMap.
	Pools Pools
	// Pods are the ranges that Pods have addresses from.
	Pods []netip.Prefix
	// Server has the addresses of the API server.
	Server []netip.Addr
}

// Controller is the service-controller.
type Controller struct {
	deps     Deps
	config   Config
	queue    *queue.Queue[string]
	listener listen.Listener

	// Owned by the one worker.
	pools    Pools
	nodes    bool                    // there is a node to answer
	held     map[string][]netip.Addr // by Service, namespace/name
	owner    map[netip.Addr]string   // the other way round
	reported map[string]string       // the last failure told by an event, by Service; "" is of the pools
}

// surroundings is the key in the queue of all that is no Service.
const surroundings = ""

// New registers with the informers.
func New(deps Deps, config Config) (*Controller, error) {
	c := &Controller{
		deps: deps, config: config,
		held: map[string][]netip.Addr{}, owner: map[netip.Addr]string{}, reported: map[string]string{},
	}
	c.queue = queue.New(c.sync)
	look := func() { c.queue.Add(surroundings) }
	around := listen.Keys(func(string) { look() })
	c.listener.To(deps.Services.Informer(), listen.Keys(c.queue.Add))
	c.listener.To(deps.CIDRs.Informer(), around)
	c.listener.To(deps.ConfigMap, around)
	c.listener.To(deps.Nodes.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { look() },
		UpdateFunc: func(old, obj any) { // not what nodes report every now and then
			if a, b := old.(*corev1.Node), obj.(*corev1.Node); !slices.Equal(rangesOf(a), rangesOf(b)) || answers(a) != answers(b) {
				look()
			}
		},
		DeleteFunc: func(any) { look() },
	})
	return c, c.listener.Err()
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { c.deps.ConfigMap.RunWithContext(ctx) })
	if !c.listener.Synced(ctx) {
		return nil
	}
	if _, err := c.lookAround(ctx); err != nil {
		return err
	}
	if err := c.recall(); err != nil {
		return err
	}
	c.queue.Run(ctx, 1)
	return nil
}

// take notes that a Service has exactly these addresses.
func (c *Controller) take(key string, addrs []netip.Addr) {
	for _, a := range c.held[key] {
		delete(c.owner, a)
	}
	delete(c.held, key)
	for _, a := range addrs {
		c.owner[a] = key
	}
	if len(addrs) > 0 {
		c.held[key] = addrs
	}
}

// recall notes what the Services have before anything is given. Of two that claim one address the
// older keeps it.
func (c *Controller) recall() error {
	all, err := c.deps.Services.Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	slices.SortFunc(all, func(a, b *corev1.Service) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for _, svc := range all {
		if !ours(svc, len(c.pools) > 0) && !served(svc, len(c.pools) > 0) {
			continue
		}
		key := svc.Namespace + "/" + svc.Name
		c.take(key, slices.DeleteFunc(addresses(svc), func(a netip.Addr) bool {
			_, taken := c.owner[a]
			return taken || !c.pools.contain(a)
		}))
	}
	return nil
}

// sync gives a Service what it asks for, or takes back what it has.
func (c *Controller) sync(ctx context.Context, key string) error {
	if key == surroundings {
		return c.surroundingsChanged(ctx)
	}
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	svc, err := c.deps.Services.Lister().Services(namespace).Get(name)
	switch {
	case apierrors.IsNotFound(err):
		delete(c.reported, key)
		c.giveBack(key)
		return nil
	case err != nil:
		return fmt.Errorf("get Service %s: %w", key, err)
	case ours(svc, len(c.pools) > 0):
		return c.assign(ctx, key, svc)
	default:
		return c.release(ctx, key, svc)
	}
}

// assign writes the addresses that a Service gets, and tells what is wrong.
func (c *Controller) assign(ctx context.Context, key string, svc *corev1.Service) error {
	w, problems := wish(svc, c.held[key])
	got, more := c.pools.Assign(w, func(a netip.Addr) bool { who, taken := c.owner[a]; return taken && who != key })
	problems = append(problems, more...)
	want := desired(svc, got, problems)
	before := c.held[key]
	// Until the write has succeeded the Service has the old and the new ones.
	c.take(key, slices.Compact(sorted(before, got)))
	if err := c.write(ctx, svc, want, len(got) > 0 && !slices.Equal(addresses(svc), got)); err != nil {
		return err
	}
	c.take(key, got)
	c.report(key, svc, problems)
	if slices.ContainsFunc(before, func(a netip.Addr) bool { return !slices.Contains(got, a) }) {
		c.wakeWaiting()
	}
	return nil
}

// report sends an event about a failure once.
func (c *Controller) report(key string, svc *corev1.Service, problems []Problem) {
	if len(problems) == 0 {
		delete(c.reported, key)
		return
	}
	if text := explain(problems); c.reported[key] != text {
		c.reported[key] = text
		c.deps.Events.Eventf(svc, corev1.EventTypeWarning, "SyncLoadBalancerFailed", "Error syncing load balancer: %s", text)
	}
}

// release takes back what a Service has that is deleted or no load balancer any more.
func (c *Controller) release(ctx context.Context, key string, svc *corev1.Service) error {
	delete(c.reported, key)
	if !served(svc, len(c.pools) > 0) {
		c.giveBack(key)
		return nil
	}
	c.deps.Events.Event(svc, corev1.EventTypeNormal, "DeletingLoadBalancer", "Deleting load balancer")
	if err := c.write(ctx, svc, released(svc), false); err != nil {
		c.deps.Events.Eventf(svc, corev1.EventTypeWarning, "DeleteLoadBalancerFailed", "Error deleting load balancer: %v", err)
		return err
	}
	c.deps.Events.Event(svc, corev1.EventTypeNormal, "DeletedLoadBalancer", "Deleted load balancer")
	c.giveBack(key)
	return nil
}

// giveBack frees what a Service had.
func (c *Controller) giveBack(key string) {
	if len(c.held[key]) > 0 {
		c.take(key, nil)
		c.wakeWaiting()
	}
}

// wakeWaiting has the Services looked at that lack an address: one has come free.
func (c *Controller) wakeWaiting() {
	for key := range c.reported {
		if key != surroundings {
			c.queue.Add(key)
		}
	}
}

// write patches what differs; a Service that is gone or has changed is looked at again when its
// event comes. ensuring announces new addresses by events.
func (c *Controller) write(ctx context.Context, svc, want *corev1.Service, ensuring bool) error {
	if equality.Semantic.DeepEqual(svc.Status, want.Status) && slices.Equal(svc.Finalizers, want.Finalizers) {
		return nil
	}
	if ensuring {
		c.deps.Events.Event(svc, corev1.EventTypeNormal, "EnsuringLoadBalancer", "Ensuring load balancer")
	}
	patch, err := json.Marshal(map[string]any{
		// The list is written whole: the version makes sure that nobody else's change to it is lost.
		"metadata": map[string]any{"uid": svc.UID, "resourceVersion": svc.ResourceVersion, "finalizers": want.Finalizers},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": want.Status.LoadBalancer.Ingress}, "conditions": want.Status.Conditions},
	})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = c.deps.Client.CoreV1().Services(svc.Namespace).Patch(ctx, svc.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write the status of Service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	if ensuring {
		c.deps.Events.Event(svc, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
		if !c.nodes {
			c.unavailable(svc)
		}
	}
	return nil
}

func sorted(lists ...[]netip.Addr) []netip.Addr {
	all := slices.Concat(lists...)
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}
