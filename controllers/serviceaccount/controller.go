// Package serviceaccount gives every namespace what programs in it need to talk to the API: the
// service account "default" and the ConfigMap kube-root-ca.crt with the cluster's CA.
//
// # Guarantees
//
// Both come back when somebody deletes them, and the ConfigMap when somebody changes it. A namespace
// that is being deleted gets nothing.
package serviceaccount

import (
	"context"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

const (
	account   = "default"
	configMap = "kube-root-ca.crt"
	caKey     = "ca.crt"
	workers   = 5
)

// Deps are what the controller works with.
type Deps struct {
	Accounts   kubernetes.Interface // may create serviceaccounts
	Publisher  kubernetes.Interface // may create and update configmaps
	Reader     kubernetes.Interface // may list configmaps
	Namespaces coreinformers.NamespaceInformer
	Existing   coreinformers.ServiceAccountInformer
}

// Controller is made by [New] and runs once.
type Controller struct {
	deps     Deps
	ca       map[string]string
	queue    *queue.Queue[string]
	informer cache.SharedIndexInformer // of the ConfigMaps with this name alone
	maps     corelisters.ConfigMapLister
	listener listen.Listener
}

// New subscribes to the informers, which their owner starts. ca is PEM.
func New(deps Deps, ca []byte) (*Controller, error) {
	c := &Controller{deps: deps, ca: map[string]string{caKey: string(ca)}}
	c.queue = queue.New(c.sync)
	c.informer = coreinformers.NewFilteredConfigMapInformer(deps.Reader, metav1.NamespaceAll, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", configMap).String()
		})
	c.maps = corelisters.NewConfigMapLister(c.informer.GetIndexer())
	inside := listen.Objects(func(o metav1.Object) { c.queue.Add(o.GetNamespace()) })
	c.listener.To(deps.Namespaces.Informer(), listen.Keys(c.queue.Add))
	c.listener.To(deps.Existing.Informer(), inside)
	c.listener.To(c.informer, inside)
	return c, c.listener.Err()
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { c.informer.RunWithContext(ctx) })
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, workers)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, name string) error {
	ns, err := c.deps.Namespaces.Lister().Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Namespace %s: %w", name, err)
	}
	if ns.Status.Phase == corev1.NamespaceTerminating || ns.DeletionTimestamp != nil {
		return nil
	}
	if err := c.ensureAccount(ctx, name); err != nil {
		return err
	}
	return c.ensureCA(ctx, name)
}

func (c *Controller) ensureAccount(ctx context.Context, namespace string) error {
	if _, err := c.deps.Existing.Lister().ServiceAccounts(namespace).Get(account); !apierrors.IsNotFound(err) {
		return err //nolint:wrapcheck // nil, or what reading memory says
	}
	_, err := c.deps.Accounts.CoreV1().ServiceAccounts(namespace).Create(ctx,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
	if err != nil && !done(err) {
		return fmt.Errorf("create service account default of %s: %w", namespace, err)
	}
	return nil
}

func (c *Controller) ensureCA(ctx context.Context, namespace string) error {
	client := c.deps.Publisher.CoreV1().ConfigMaps(namespace)
	have, err := c.maps.ConfigMaps(namespace).Get(configMap)
	switch {
	case apierrors.IsNotFound(err):
		_, err = client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name:        configMap,
			Annotations: map[string]string{"kubernetes.io/description": "The CA of this cluster's API server, for programs that reach it from within the cluster."},
		}, Data: c.ca}, metav1.CreateOptions{})
	case err != nil:
		return fmt.Errorf("get ConfigMap %s of %s: %w", configMap, namespace, err)
	case maps.Equal(have.Data, c.ca) && len(have.BinaryData) == 0:
		return nil
	default:
		have = have.DeepCopy()
		have.Data, have.BinaryData = c.ca, nil
		_, err = client.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil && !done(err) {
		return fmt.Errorf("write ConfigMap %s of %s: %w", configMap, namespace, err)
	}
	return nil
}

// done tells whether there is nothing left to do although a write failed: somebody else was first, or
// the namespace is going; what is left comes back by an event.
func done(err error) bool {
	return apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
