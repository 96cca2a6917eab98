// Package tokencleaner deletes bootstrap tokens whose time is over. They are good for nothing by then:
// package tokens of the API server refuses them.
//
// # Guarantees
//
// A token is deleted only as the version that was seen to be over: one that somebody prolongs
// meanwhile stays. One without an end, or with an end that nobody can read, is left alone.
package tokencleaner

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// Deps are what the controller works with.
type Deps struct {
	Client kubernetes.Interface // may list, watch and delete secrets in kube-system
	Clock  clock.PassiveClock   // the system's if nil
}

// Controller is made by [New] and runs once.
type Controller struct {
	deps     Deps
	queue    *queue.Queue[string] // of Secrets
	informer cache.SharedIndexInformer
	listener listen.Listener
}

// New makes the controller and its informer, which Run runs.
func New(deps Deps) (*Controller, error) {
	if deps.Clock == nil {
		deps.Clock = clock.RealClock{}
	}
	c := &Controller{deps: deps}
	c.queue = queue.New(c.sync)
	c.informer = coreinformers.NewFilteredSecretInformer(deps.Client, metav1.NamespaceSystem, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeBootstrapToken)).String()
	})
	c.listener.To(c.informer, listen.Objects(func(secret *corev1.Secret) { c.queue.Add(secret.Name) }))
	return c, c.listener.Err()
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { c.informer.RunWithContext(ctx) })
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, 1)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, name string) error {
	obj, found, err := c.informer.GetStore().GetByKey(metav1.NamespaceSystem + "/" + name)
	secret, ok := obj.(*corev1.Secret)
	if err != nil || !found || !ok {
		return err //nolint:wrapcheck // it is gone
	}
	left, ends := remaining(secret, c.deps.Clock.Now())
	switch {
	case !ends:
		return nil
	case left > 0:
		c.queue.AddAfter(name, left)
		return nil
	}
	err = c.deps.Client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete bootstrap token %s: %w", name, err)
	}
	return nil
}

// remaining is how long a token is still good; ends is false if it has no end.
func remaining(secret *corev1.Secret, now time.Time) (left time.Duration, ends bool) {
	end, err := time.Parse(time.RFC3339, string(secret.Data["expiration"]))
	if err != nil || secret.Type != corev1.SecretTypeBootstrapToken {
		return 0, false
	}
	return end.Sub(now), true
}
