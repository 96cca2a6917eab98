package namespace

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/catalog"
	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// Deps is what the controller acts through. The caller starts the informer after New.
type Deps struct {
	Client kubernetes.Interface
	// Standard creates a standard namespace that somebody deleted, which the role of the namespace
	// controller does not allow. Nil means Client.
	Standard   kubernetes.Interface
	Metadata   metadata.Interface
	Discovery  catalog.Discovery
	Namespaces coreinformers.NamespaceInformer
}

// Config has no required field.
type Config struct {
	// Workers is how many namespaces are emptied at a time; 0 means 4.
	Workers int
}

// Controller empties namespaces.
type Controller struct {
	deps     Deps
	config   Config
	contents contents
	queue    *queue.Queue[string]
	listener listen.Listener

	waiting sync.WaitGroup // the goroutines that watch what is left

	mu    sync.Mutex
	kinds []catalog.Kind                // nil: to be read
	waits map[string]context.CancelFunc // by namespace
}

// New registers with the informer.
func New(deps Deps, config Config) (*Controller, error) {
	if config.Workers == 0 {
		config.Workers = 4
	}
	if deps.Standard == nil {
		deps.Standard = deps.Client
	}
	c := &Controller{
		deps: deps, config: config, contents: contents{client: deps.Metadata},
		waits: map[string]context.CancelFunc{},
	}
	c.queue = queue.New(c.sync)
	c.listener.To(deps.Namespaces.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { c.changed(nil, obj) },
		// The controller's own writes of status are not worth a look.
		UpdateFunc: c.changed,
		DeleteFunc: listen.Keys(c.queue.Add).OnDelete,
	})
	return c, c.listener.Err()
}

// Run works until ctx ends and returns nil when all goroutines are gone.
func (c *Controller) Run(ctx context.Context) error {
	c.listener.Synced(ctx)
	c.queue.Run(ctx, c.config.Workers)
	c.waiting.Wait()
	return nil
}

// Rediscover has the served kinds read again before the next namespace is emptied.
func (c *Controller) Rediscover() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds = nil
}

// changed asks for a look at a namespace whose deletion began; old is nil for one just seen.
func (c *Controller) changed(old, obj any) {
	now, ok := obj.(*corev1.Namespace)
	if !ok || now.DeletionTimestamp == nil {
		return
	}
	if was, ok := old.(*corev1.Namespace); ok && was.DeletionTimestamp != nil && was.UID == now.UID {
		return
	}
	c.queue.Add(now.Name)
}

func (c *Controller) sync(ctx context.Context, name string) error {
	c.stopWaiting(name)
	ns, err := c.deps.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && isStandard(name):
		return ensure(ctx, c.deps.Standard, name)
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("get namespace %s: %w", name, err)
	case ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes):
		return nil
	}
	f, left := c.empty(ctx, name)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if ns, err = c.writeConditions(ctx, ns, f); err != nil {
		return err
	}
	if f.empty() {
		return c.finalize(ctx, ns)
	}
	c.waitFor(ctx, name, left)
	if err := f.err(); err != nil {
		return fmt.Errorf("empty namespace %s: %w", name, err)
	}
	return nil
}

// empty deletes what is in the namespace and tells what is left.
func (c *Controller) empty(ctx context.Context, name string) (findings, []remainder) {
	kinds, err := c.readKinds(ctx)
	if err != nil && len(kinds) == 0 {
		var f findings
		f.sort(err)
		return f, nil
	}
	f, left := c.contents.empty(ctx, name, kinds)
	if err != nil {
		f.sort(err)
	}
	return f, left
}

// readKinds returns the kinds a namespace may hold, with an error if there may be others.
func (c *Controller) readKinds(ctx context.Context) ([]catalog.Kind, error) {
	c.mu.Lock()
	kinds := c.kinds
	c.mu.Unlock()
	if kinds != nil {
		return kinds, nil
	}
	served, err := catalog.Read(ctx, c.deps.Discovery)
	kinds = slices.DeleteFunc(served.Kinds, func(k catalog.Kind) bool {
		// The Events of events.k8s.io are those of the core group.
		return !k.Namespaced || !k.Can("list", "delete") || k.Group == "events.k8s.io"
	})
	if err == nil {
		c.mu.Lock()
		c.kinds = kinds
		c.mu.Unlock()
	}
	return kinds, err
}

// writeConditions tells users what the namespace waits for. One that was empty at once goes
// without: nobody could have read it.
func (c *Controller) writeConditions(ctx context.Context, ns *corev1.Namespace, f findings) (*corev1.Namespace, error) {
	if f.empty() && len(ns.Status.Conditions) == 0 {
		return ns, nil
	}
	list, changed := conditions(ns.Status.Conditions, f, metav1.Now())
	if !changed && ns.Status.Phase == corev1.NamespaceTerminating {
		return ns, nil
	}
	ns = ns.DeepCopy()
	ns.Status.Phase, ns.Status.Conditions = corev1.NamespaceTerminating, list
	written, err := c.deps.Client.CoreV1().Namespaces().UpdateStatus(ctx, ns, metav1.UpdateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return ns, nil // finalize will notice
	case err != nil:
		return nil, fmt.Errorf("write conditions of namespace %s: %w", ns.Name, err)
	}
	return written, nil
}

// finalize lets an empty namespace go.
func (c *Controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	ns = ns.DeepCopy()
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool {
		return f == corev1.FinalizerKubernetes
	})
	_, err := c.deps.Client.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("finalize namespace %s: %w", ns.Name, err)
	}
	klog.FromContext(ctx).V(2).Info("Namespace is empty", "namespace", ns.Name)
	return nil
}
