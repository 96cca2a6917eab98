//nolint:staticcheck // Endpoints are deprecated, and this is the package that keeps them
package endpoints

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	endpointutil "k8s.io/endpointslice/util"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
	"github.com/duetk8s/duet/controllers/selection"
)

const (
	workers = 2
	// gather is how long a change waits for more of them. Traffic follows the EndpointSlices; these objects
	// are for clients that do not know those, and are not to be written at the same time.
	gather = 50 * time.Millisecond
)

// Deps are what the controller works with. The caller starts the informers after New.
type Deps struct {
	Client    kubernetes.Interface // may write endpoints
	Services  coreinformers.ServiceInformer
	Pods      coreinformers.PodInformer
	Endpoints coreinformers.EndpointsInformer
	Events    record.EventRecorder
}

// Controller is the endpoint-controller.
type Controller struct {
	deps     Deps
	queue    *queue.Queue[string]
	triggers *endpointutil.TriggerTimeTracker
	listener listen.Listener
}

// New registers with the informers.
func New(deps Deps) (*Controller, error) {
	c := &Controller{deps: deps, triggers: endpointutil.NewTriggerTimeTracker()}
	c.queue = queue.New(c.sync)
	selectors, err := selection.New(deps.Services.Informer())
	if err != nil {
		return nil, err
	}
	soon := func(key string) { c.queue.AddAfter(key, gather) }
	c.listener.To(deps.Services.Informer(), listen.Keys(soon))
	c.listener.To(deps.Pods.Informer(), selectors.Pods(soon))
	c.listener.To(deps.Endpoints.Informer(), listen.Keys(soon))
	return c, c.listener.Err()
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, workers)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	svc, err := c.deps.Services.Lister().Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.triggers.DeleteService(namespace, name)
		return c.remove(ctx, namespace, name)
	}
	if err != nil {
		return fmt.Errorf("get Service %s: %w", key, err)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName || len(svc.Spec.Selector) == 0 || svc.DeletionTimestamp != nil {
		return nil // the user's own Endpoints, if any
	}
	pods, err := c.deps.Pods.Lister().Pods(namespace).List(labels.SelectorFromValidatedSet(svc.Spec.Selector))
	if err != nil {
		return fmt.Errorf("list the Pods of Service %s: %w", key, err)
	}
	have, err := c.deps.Endpoints.Lister().Endpoints(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get Endpoints %s: %w", key, err)
	}
	return c.write(ctx, svc, pods, have)
}

// write brings the stored object to what is wanted. have is nil if there is none.
func (c *Controller) write(ctx context.Context, svc *corev1.Service, pods []*corev1.Pod, have *corev1.Endpoints) error {
	want := desired(svc, pods)
	if have != nil {
		if current(have, want) {
			return nil
		}
		kept := map[string]string{}
		maps.Copy(kept, have.Annotations) // somebody else's
		delete(kept, overCapacity)
		maps.Copy(kept, want.Annotations)
		want.ResourceVersion, want.Annotations, want.OwnerReferences = have.ResourceVersion, kept, have.OwnerReferences
	}
	if t := c.triggers.ComputeEndpointLastChangeTriggerTime(svc.Namespace, svc, pods); !t.IsZero() {
		want.Annotations[corev1.EndpointsLastChangeTriggerTime] = t.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
	} else {
		delete(want.Annotations, corev1.EndpointsLastChangeTriggerTime)
	}
	api, err := c.deps.Client.CoreV1().Endpoints(svc.Namespace), error(nil)
	if have == nil {
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
	} else {
		_, err = api.Update(ctx, want, metav1.UpdateOptions{})
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write Endpoints %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	return nil
}

// current tells whether the stored object is as wanted, but for what others have put there.
func current(have, want *corev1.Endpoints) bool {
	return equality.Semantic.DeepEqual(have.Subsets, want.Subsets) && equality.Semantic.DeepEqual(have.Labels, want.Labels) &&
		have.Annotations[overCapacity] == want.Annotations[overCapacity]
}

// remove deletes the Endpoints of a Service that is gone, if they are this controller's.
func (c *Controller) remove(ctx context.Context, namespace, name string) error {
	have, err := c.deps.Endpoints.Lister().Endpoints(namespace).Get(name)
	if apierrors.IsNotFound(err) || err == nil && have.Labels[labelManagedBy] != managedBy {
		return nil
	}
	if err == nil {
		err = c.deps.Client.CoreV1().Endpoints(namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Endpoints %s/%s: %w", namespace, name, err)
	}
	return nil
}
