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

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"

	"github.com/duetk8s/duet/apiserver/access/aggregation"
	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// Updater writes a ClusterRole. It answers Conflict when the role has changed since it was read,
// NotFound when it is gone.
type Updater interface {
	Update(ctx context.Context, role *rbacv1.ClusterRole, opts metav1.UpdateOptions) (*rbacv1.ClusterRole, error)
}

// Controller is made by [New] and runs once.
type Controller struct {
	roles    rbaclisters.ClusterRoleLister
	client   Updater
	queue    *queue.Queue[struct{}] // any change of a ClusterRole may concern any aggregated one
	listener listen.Listener
}

// New subscribes to roles, which its owner starts, and writes through client
// (clientset.RbacV1().ClusterRoles()).
func New(roles rbacinformers.ClusterRoleInformer, client Updater) (*Controller, error) {
	c := &Controller{roles: roles.Lister(), client: client}
	c.queue = queue.New(c.sync)
	c.listener.To(roles.Informer(), listen.Keys(func(string) { c.queue.Add(struct{}{}) }))
	return c, c.listener.Err()
}

// Run works until ctx ends and returns when its goroutines are gone.
func (c *Controller) Run(ctx context.Context) error {
	defer c.listener.Stop()
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, 1)
	}
	return nil
}

// sync writes every aggregated role whose rules are not what it gathers. A fault of one does not keep
// the others from being written. Comparing all of them takes less than a millisecond.
func (c *Controller) sync(ctx context.Context, _ struct{}) error {
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
