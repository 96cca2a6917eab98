package apiserver

import (
	"context"
	"crypto/x509"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	serviceproxy "k8s.io/apiserver/pkg/util/proxy"

	"github.com/duetk8s/duet/apiserver/pods"
)

// graceful is the strategy of Pods for deletion: the node's agent has time to end the containers,
// and it is the agent's second deletion, without grace, that removes the object.
type graceful struct{ strategy }

var _ rest.RESTGracefulDeleteStrategy = graceful{}

// CheckGracefulDelete says how long; the registry drops a Pod at once that has no time left.
func (graceful) CheckGracefulDelete(_ context.Context, obj runtime.Object, o *metav1.DeleteOptions) bool {
	if o == nil {
		return false
	}
	period := pods.Grace(obj.(*corev1.Pod), o.GracePeriodSeconds)
	o.GracePeriodSeconds = &period
	return true
}

// deleteGracefully makes store delete Pods as they must be, and answer with the Pod.
func deleteGracefully(store *registry.Store) {
	store.DeleteStrategy = graceful{store.CreateStrategy.(strategy)}
	store.ReturnDeletedObject = true
}

// podPaths adds what is served below Pods, Services and Nodes beside the objects.
func (s *Server) podPaths(e endpoints, cfg Config, authz authorizer.Authorizer) error {
	store := s.stores[schema.GroupResource{Resource: "pods"}]
	node := getter[*corev1.Node](s.stores[schema.GroupResource{Resource: "nodes"}])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cfg.NodeCA)
	slices, err := serviceproxy.NewEndpointSliceIndexerGetter(s.informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return fmt.Errorf("apiserver: EndpointSlices by Service: %w", err)
	}
	for path, storage := range pods.Endpoints(pods.Config{
		Pod: getter[*corev1.Pod](store), Node: node, CA: roots, Certificate: cfg.NodeClient, Authorizer: authz,
		Service: getter[*corev1.Service](s.stores[servicesResource]), Slices: slices.GetEndpointSlices,
	}) {
		e.add("", "v1", path, storage)
	}
	binding := pods.Binding{Store: store, Node: node}
	e.add("", "v1", "pods/binding", binding)
	e.add("", "v1", "bindings", pods.Bindings{Binding: binding})
	return nil
}

// getter reads objects where they are stored. The store would call what is missing by the resource
// that the request is about.
func getter[T runtime.Object](store *registry.Store) func(context.Context, string) (T, error) {
	return func(ctx context.Context, name string) (none T, _ error) {
		obj, err := store.Get(ctx, name, &metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			err = apierrors.NewNotFound(store.DefaultQualifiedResource, name)
		}
		if err != nil {
			return none, err
		}
		return obj.(T), nil
	}
}
