//nolint:staticcheck // Endpoints are deprecated, and this is the package that reads them
package endpointslicemirroring

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// byEndpoints is the index of this controller's slices by namespace/name of the Endpoints.
const byEndpoints = "duet.endpointslicemirroring-controller.endpoints"

// Deps are what the controller works with. The caller starts the informers after New.
type Deps struct {
	Client    kubernetes.Interface // may write endpointslices
	Services  coreinformers.ServiceInformer
	Endpoints coreinformers.EndpointsInformer
	Slices    discoveryinformers.EndpointSliceInformer
	Events    record.EventRecorder
}

// Controller is the endpointslicemirroring-controller.
//
// Concurrency: one worker; told is its own.
type Controller struct {
	deps     Deps
	queue    *queue.Queue[string]
	listener listen.Listener
	// told is what was left out of Endpoints when last told, by their key; none for nothing left out.
	told map[string]leftOut
}

// leftOut counts the addresses of Endpoints that are in no slice.
type leftOut struct {
	uid              types.UID
	tooMany, invalid int
}

// New registers with the informers.
func New(deps Deps) (*Controller, error) {
	c := &Controller{deps: deps, told: map[string]leftOut{}}
	c.queue = queue.New(c.sync)
	if err := deps.Slices.Informer().AddIndexers(cache.Indexers{byEndpoints: endpointsOf}); err != nil {
		return nil, fmt.Errorf("index EndpointSlices: %w", err)
	}
	c.listener.To(deps.Services.Informer(), listen.Keys(c.queue.Add))
	c.listener.To(deps.Endpoints.Informer(), listen.Keys(c.queue.Add))
	c.listener.To(deps.Slices.Informer(), listen.Objects(func(slice *discoveryv1.EndpointSlice) {
		keys, _ := endpointsOf(slice)
		for _, k := range keys {
			c.queue.Add(k)
		}
	}))
	return c, c.listener.Err()
}

// endpointsOf is the index function of byEndpoints.
func endpointsOf(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelManagedBy] != managedBy {
		return nil, nil
	}
	return []string{slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, 1)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	svc, err := c.deps.Services.Lister().Services(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get Service %s: %w", key, err)
	}
	e, err := c.deps.Endpoints.Lister().Endpoints(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get Endpoints %s: %w", key, err)
	}
	var want map[string]*discoveryv1.EndpointSlice
	if err == nil && mirrored(e, svc) {
		out := leftOut{uid: e.UID}
		want, out.tooMany, out.invalid = desired(e)
		c.tell(key, e, out)
	} else {
		delete(c.told, key)
	}
	return c.write(ctx, key, want)
}

// tell writes events about what is left out, if it is not what they say already.
func (c *Controller) tell(key string, e *corev1.Endpoints, now leftOut) {
	before := c.told[key]
	if before.uid != now.uid {
		before = leftOut{uid: now.uid}
	}
	if now.tooMany > 0 && now.tooMany != before.tooMany {
		c.deps.Events.Eventf(e, corev1.EventTypeWarning, "TooManyAddressesToMirror",
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", maxPerSubset, now.tooMany)
	}
	if now.invalid > 0 && now.invalid != before.invalid {
		c.deps.Events.Eventf(e, corev1.EventTypeWarning, "InvalidIPAddress",
			"Skipped %d invalid IP addresses when mirroring to EndpointSlices", now.invalid)
	}
	if now.tooMany+now.invalid == 0 {
		delete(c.told, key)
	} else {
		c.told[key] = now
	}
}

// write brings the stored slices of the Endpoints to what is wanted.
func (c *Controller) write(ctx context.Context, key string, want map[string]*discoveryv1.EndpointSlice) error {
	stored, err := c.deps.Slices.Informer().GetIndexer().ByIndex(byEndpoints, key)
	if err != nil {
		return fmt.Errorf("find the EndpointSlices of Endpoints %s: %w", key, err)
	}
	var errs []error
	have := map[string]bool{}
	for _, obj := range stored {
		slice := obj.(*discoveryv1.EndpointSlice)
		have[slice.Name] = true
		api, w := c.deps.Client.DiscoveryV1().EndpointSlices(slice.Namespace), want[slice.Name]
		switch {
		case w == nil:
			err := api.Delete(ctx, slice.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &slice.UID}})
			if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // gone, or another of that name
				errs = append(errs, err)
			}
		case !same(slice, w):
			w.ResourceVersion = slice.ResourceVersion
			_, err := api.Update(ctx, w, metav1.UpdateOptions{})
			errs = append(errs, err)
		}
	}
	for name, w := range want {
		if !have[name] {
			_, err := c.deps.Client.DiscoveryV1().EndpointSlices(w.Namespace).Create(ctx, w, metav1.CreateOptions{})
			if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mirror Endpoints %s: %w", key, err)
	}
	return nil
}

func same(a, b *discoveryv1.EndpointSlice) bool {
	return equality.Semantic.DeepEqual(a.Endpoints, b.Endpoints) && equality.Semantic.DeepEqual(a.Ports, b.Ports) &&
		equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Annotations, b.Annotations) &&
		equality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}
