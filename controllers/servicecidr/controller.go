package servicecidr

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// managed selects the addresses that belong to Services; others never block (B5.7).
const managed = networkingv1.LabelManagedBy + "=" + clusterip.ManagedBy

// Deps is what the controller acts through. The caller starts the informer after New.
type Deps struct {
	Client kubernetes.Interface
	CIDRs  networkinginformers.ServiceCIDRInformer
	Events record.EventRecorder
}

// Config has no required field.
type Config struct {
	// Workers is how many ServiceCIDRs are worked on at a time; 0 means 2.
	Workers int
}

// Controller is the service-cidr-controller.
type Controller struct {
	deps     Deps
	config   Config
	queue    *queue.Queue[string]
	listener listen.Listener

	waiting sync.WaitGroup // the goroutines that watch a witness

	mu    sync.Mutex
	waits map[string]*wait // by name of the ServiceCIDR
}

// New registers with the informer.
func New(deps Deps, config Config) (*Controller, error) {
	if config.Workers == 0 {
		config.Workers = 2
	}
	c := &Controller{deps: deps, config: config, waits: map[string]*wait{}}
	c.queue = queue.New(c.sync)
	c.listener.To(deps.CIDRs.Informer(), listen.Objects(c.changed))
	return c, c.listener.Err()
}

// Run works until ctx ends and returns nil when all goroutines are gone.
func (c *Controller) Run(ctx context.Context) error {
	c.listener.Synced(ctx)
	c.queue.Run(ctx, c.config.Workers)
	c.waiting.Wait()
	return nil
}

// changed asks for a look at a ServiceCIDR that was created, changed or removed, and at those
// being deleted that share addresses with it: it may set them free or bind them (B5.9; unlike
// upstream, also when it is deleted). The ones that stay depend on nobody.
func (c *Controller) changed(cidr *networkingv1.ServiceCIDR) {
	c.queue.Add(cidr.Name)
	all, _ := c.deps.CIDRs.Lister().List(labels.Everything()) // reads memory, cannot fail
	for _, other := range all {
		if other.DeletionTimestamp != nil && other.Name != cidr.Name && overlap(other, cidr) {
			c.queue.Add(other.Name)
		}
	}
}

func (c *Controller) sync(ctx context.Context, name string) error {
	cidr, err := c.deps.CIDRs.Lister().Get(name)
	switch {
	case apierrors.IsNotFound(err):
		c.stopWaiting(name)
		return nil
	case err != nil:
		return fmt.Errorf("get ServiceCIDR %s: %w", name, err)
	case cidr.DeletionTimestamp == nil:
		c.stopWaiting(name) // one of the same name was deleted
		return c.keep(ctx, cidr)
	case !slices.Contains(cidr.Finalizers, clusterip.ServiceCIDRFinalizer):
		c.stopWaiting(name)
		return nil // others may still hold it; we do not
	default:
		return c.release(ctx, cidr)
	}
}

// keep gives a ServiceCIDR that stays its finalizer and its condition.
func (c *Controller) keep(ctx context.Context, cidr *networkingv1.ServiceCIDR) error {
	if !slices.Contains(cidr.Finalizers, clusterip.ServiceCIDRFinalizer) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": cidr.UID, "finalizers": []string{clusterip.ServiceCIDRFinalizer},
		}})
		if err != nil {
			return fmt.Errorf("encode patch: %w", err)
		}
		_, err = c.deps.Client.NetworkingV1().ServiceCIDRs().Patch(ctx, cidr.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			return ignoreNotFound("add finalizer to", cidr, err)
		}
	}
	err := c.setCondition(ctx, cidr, ready())
	if err != nil && ctx.Err() == nil {
		c.deps.Events.Event(cidr, corev1.EventTypeWarning, eventReason, eventMessage)
	}
	return err
}

// release removes the finalizer of a ServiceCIDR being deleted if nothing depends on it, else
// says so and waits for one of the addresses in the way. It reads from the API server, not from
// an informer, which could be behind.
func (c *Controller) release(ctx context.Context, cached *networkingv1.ServiceCIDR) error {
	if c.stillHeld(cached) {
		return c.setCondition(ctx, cached, blocked())
	}
	all, err := c.deps.Client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	cidrs := pointers(all.Items)
	at := slices.IndexFunc(cidrs, func(other *networkingv1.ServiceCIDR) bool { return other.UID == cached.UID })
	if at < 0 {
		return nil // gone meanwhile; the informer will say so
	}
	live := cidrs[at]
	g, err := guardOf(live, cidrs)
	if err != nil {
		return err
	}
	held, revision, err := c.protected(ctx, g)
	if err != nil {
		return err
	}
	if len(held) == 0 {
		c.stopWaiting(live.Name)
		return c.removeFinalizer(ctx, live)
	}
	c.waitFor(ctx, live, g, held[rand.IntN(len(held))], revision)
	return c.setCondition(ctx, live, blocked())
}

// protected lists the addresses that g protects, as of the revision returned.
func (c *Controller) protected(ctx context.Context, g guard) ([]netip.Addr, string, error) {
	if len(g.own) == 0 {
		return nil, "", nil
	}
	list, err := c.deps.Client.NetworkingV1().IPAddresses().List(ctx, metav1.ListOptions{LabelSelector: managed})
	if err != nil {
		return nil, "", fmt.Errorf("list IPAddresses: %w", err)
	}
	var held []netip.Addr
	for i := range list.Items {
		addr, err := netip.ParseAddr(list.Items[i].Name)
		if err == nil && g.protects(addr) { // the API lets no other names in
			held = append(held, addr)
		}
	}
	return held, list.ResourceVersion, nil
}

// removeFinalizer fails with a conflict if the ServiceCIDR changed since live was read.
func (c *Controller) removeFinalizer(ctx context.Context, live *networkingv1.ServiceCIDR) error {
	rest := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == clusterip.ServiceCIDRFinalizer })
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": live.UID, "resourceVersion": live.ResourceVersion, "finalizers": rest,
	}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = c.deps.Client.NetworkingV1().ServiceCIDRs().Patch(ctx, live.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return ignoreNotFound("remove finalizer from", live, err)
}

func (c *Controller) setCondition(ctx context.Context, cidr *networkingv1.ServiceCIDR, want metav1.Condition) error {
	want, differs := transition(cidr, want, metav1.Now())
	if !differs {
		return nil
	}
	options := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	_, err := c.deps.Client.NetworkingV1().ServiceCIDRs().ApplyStatus(ctx, applying(cidr.Name, want), options)
	return ignoreNotFound("set condition of", cidr, err)
}

func ignoreNotFound(doing string, cidr *networkingv1.ServiceCIDR, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("%s ServiceCIDR %s: %w", doing, cidr.Name, err)
}

func pointers(items []networkingv1.ServiceCIDR) []*networkingv1.ServiceCIDR {
	list := make([]*networkingv1.ServiceCIDR, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}
