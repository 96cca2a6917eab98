// Package clusterroleaggregation keeps the rules of aggregated ClusterRoles (admin, edit, view
// and users' own) equal to the rules of the ClusterRoles that their selectors match.
//
// It meets the rest at the API alone: it reads ClusterRoles through an informer and writes them
// with its client, as the service account clusterrole-aggregation-controller, whose role carries
// the verb escalate. What the rules are is decided in apiserver/access/aggregation.
//
// # Concurrency
//
// One goroutine writes; events only wake it.
//
// # Guarantees
//
// A role is written only when its rules change, and only as the version that was read.
package clusterroleaggregation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/apiserver/access/aggregation"
)

// Updater writes a ClusterRole. It answers Conflict when the role has changed since it was read,
// NotFound when it is gone.
type Updater interface {
	Update(ctx context.Context, role *rbacv1.ClusterRole, opts metav1.UpdateOptions) (*rbacv1.ClusterRole, error)
}

// Controller is made by [New] and runs once.
type Controller struct {
	roles        rbaclisters.ClusterRoleLister
	registration cache.ResourceEventHandlerRegistration
	informer     cache.SharedIndexInformer
	client       Updater
	queue        workqueue.TypedRateLimitingInterface[string]
}

// all is the only key: any change of a ClusterRole may concern any aggregated one, and comparing
// all of them takes less than a millisecond.
const all = "all"

// New subscribes to roles, which its owner starts, and writes through client
// (clientset.RbacV1().ClusterRoles()).
func New(roles rbacinformers.ClusterRoleInformer, client Updater) (*Controller, error) {
	c := &Controller{
		roles: roles.Lister(), informer: roles.Informer(), client: client,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.DefaultTypedControllerRateLimiter[string](),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "clusterroleaggregation"}),
	}
	wake := func() { c.queue.Add(all) }
	registration, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	})
	if err != nil {
		return nil, fmt.Errorf("watch cluster roles: %w", err)
	}
	c.registration = registration
	return c, nil
}

// Run works until ctx ends and returns when its goroutines are gone.
func (c *Controller) Run(ctx context.Context) error {
	defer func() { _ = c.informer.RemoveEventHandler(c.registration) }()
	var worker sync.WaitGroup
	defer worker.Wait()
	defer c.queue.ShutDown()
	if !cache.WaitForCacheSync(ctx.Done(), c.registration.HasSynced) {
		return nil // stopped before it began
	}
	worker.Go(func() {
		for c.next(ctx) {
		}
	})
	<-ctx.Done()
	return nil
}

func (c *Controller) next(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	err := c.reconcile(ctx)
	switch {
	case err == nil || ctx.Err() != nil:
		c.queue.Forget(key)
	default:
		if !apierrors.IsConflict(err) {
			klog.FromContext(ctx).Error(err, "Aggregate cluster roles, will try again")
		}
		c.queue.AddRateLimited(key)
	}
	return true
}

// reconcile writes every aggregated role whose rules are not what it gathers. A fault of one
// does not keep the others from being written.
func (c *Controller) reconcile(ctx context.Context) error {
	roles, err := c.roles.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list cluster roles: %w", err)
	}
	var faults []error
	for _, role := range roles {
		if role.AggregationRule == nil || role.DeletionTimestamp != nil {
			continue
		}
		if err := c.update(ctx, role, roles); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (c *Controller) update(ctx context.Context, role *rbacv1.ClusterRole, roles []*rbacv1.ClusterRole) error {
	rules, err := aggregation.Rules(role, roles)
	if err != nil {
		return err
	}
	if !aggregation.Differ(role.Rules, rules) {
		return nil
	}
	changed := role.DeepCopy()
	changed.Rules = rules
	if _, err = c.client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update cluster role %q: %w", role.Name, err)
	}
	return nil
}
