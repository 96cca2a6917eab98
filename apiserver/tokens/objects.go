package tokens

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// leeway is how long after its end an object still has its tokens: it says good-bye with them.
const leeway = time.Minute

// Objects are what tokens depend on. Reading them costs nothing while they are what a token says;
// what seems to be gone is asked for again, for it may only be too new.
type Objects struct {
	client   kubernetes.Interface
	accounts corelisters.ServiceAccountLister
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
}

// NewObjects asks for the informers that it needs, before their owner starts them.
func NewObjects(client kubernetes.Interface, shared informers.SharedInformerFactory) *Objects {
	core := shared.Core().V1()
	return &Objects{client, core.ServiceAccounts().Lister(), core.Pods().Lister(), core.Nodes().Lister()}
}

// Account is the service account as it is, from memory if it is there.
func (o *Objects) Account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	account, err := o.accounts.ServiceAccounts(namespace).Get(name)
	if err == nil {
		return account, nil
	}
	return o.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
}

// exist tells whether all that c names is still there.
func (o *Objects) exist(ctx context.Context, c *kubernetesClaims, now time.Time) (bool, error) {
	core := o.client.CoreV1()
	checks := []struct {
		of   *reference
		look func(name string) (metav1.Object, error)
		ask  func(name string) (metav1.Object, error)
	}{
		{
			of:   &c.ServiceAccount,
			look: func(name string) (metav1.Object, error) { return o.accounts.ServiceAccounts(c.Namespace).Get(name) },
			ask: func(name string) (metav1.Object, error) {
				return core.ServiceAccounts(c.Namespace).Get(ctx, name, metav1.GetOptions{})
			},
		},
		{
			of:   c.Pod,
			look: func(name string) (metav1.Object, error) { return o.pods.Pods(c.Namespace).Get(name) },
			ask: func(name string) (metav1.Object, error) {
				return core.Pods(c.Namespace).Get(ctx, name, metav1.GetOptions{})
			},
		},
		{
			of: c.Secret,
			ask: func(name string) (metav1.Object, error) {
				return core.Secrets(c.Namespace).Get(ctx, name, metav1.GetOptions{})
			},
		},
	}
	if c.Pod == nil { // of a Pod's token the node is only information
		checks = append(checks, struct {
			of   *reference
			look func(name string) (metav1.Object, error)
			ask  func(name string) (metav1.Object, error)
		}{
			of:   c.Node,
			look: func(name string) (metav1.Object, error) { return o.nodes.Get(name) },
			ask:  func(name string) (metav1.Object, error) { return core.Nodes().Get(ctx, name, metav1.GetOptions{}) },
		})
	}
	for _, check := range checks {
		if check.of == nil {
			continue
		}
		if check.look != nil {
			if obj, err := check.look(check.of.Name); err == nil && alive(obj, check.of.UID, now) {
				continue
			}
		}
		obj, err := check.ask(check.of.Name)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err //nolint:wrapcheck // says itself what was read
		}
		if !alive(obj, check.of.UID, now) {
			return false, nil
		}
	}
	return true, nil
}

func alive(obj metav1.Object, uid types.UID, now time.Time) bool {
	end := obj.GetDeletionTimestamp()
	return obj.GetUID() == uid && (end == nil || now.Before(end.Add(leeway)))
}
