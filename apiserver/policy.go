package apiserver

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/apiserver/access"
	"github.com/duetk8s/duet/controllers/listen"
)

// seedPolicy makes sure that the roles and bindings every cluster has are there, and lets the
// authorizer know all of them before the first request of a stranger. The list at the end has the
// watch caches catch up with what was written, so that the informers start from nothing older.
func (s *Server) seedPolicy(ctx context.Context) error {
	store := policyStore{s.stores}
	if _, err := access.Reconcile(ctx, store, access.Bootstrap()); err != nil {
		return err
	}
	policy, err := store.List(ctx)
	if err != nil {
		return err
	}
	s.index.Seed(policy)
	close(s.seeded)
	return nil
}

// confirmPolicy keeps the authorizer's index equal to the roles and bindings from then on.
func (s *Server) confirmPolicy(ctx context.Context) {
	select {
	case <-s.seeded:
	case <-ctx.Done():
		return
	}
	rbac := s.policy.Rbac().V1()
	var listener listen.Listener
	for _, informer := range []cache.SharedIndexInformer{
		rbac.ClusterRoles().Informer(), rbac.ClusterRoleBindings().Informer(), rbac.Roles().Informer(), rbac.RoleBindings().Informer(),
	} {
		listener.To(informer, s.index)
	}
	if err := listener.Err(); err != nil {
		klog.FromContext(ctx).Error(err, "The authorizer does not follow changes of roles and bindings")
		return
	}
	s.policy.StartWithContext(ctx)
	if listener.Synced(ctx) {
		s.index.Confirm()
	}
	<-ctx.Done()
	s.policy.Shutdown()
}

// storedRoles reads roles where they are stored, so that one can be bound as soon as it exists.
type storedRoles struct {
	stores map[schema.GroupResource]*registry.Store
}

// RoleRules returns the rules of a Role, or of a ClusterRole if there is no namespace.
func (r storedRoles) RoleRules(ctx context.Context, namespace, name string) ([]rbacv1.PolicyRule, error) {
	resource := "clusterroles"
	if namespace != "" {
		resource = "roles"
	}
	obj, err := policyStore(r).of(resource).Get(genericapirequest.WithNamespace(ctx, namespace), name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if role, ok := obj.(*rbacv1.Role); ok {
		return role.Rules, nil
	}
	return obj.(*rbacv1.ClusterRole).Rules, nil
}

// policyStore reads and writes roles and bindings in their stores, without going through HTTP.
type policyStore struct {
	stores map[schema.GroupResource]*registry.Store
}

func (p policyStore) of(resource string) *registry.Store {
	return p.stores[rbacv1.Resource(resource)]
}

// List returns all roles and bindings.
func (p policyStore) List(ctx context.Context) (*access.Policy, error) {
	policy := &access.Policy{}
	for resource, add := range map[string]func(runtime.Object){
		"clusterroles": func(o runtime.Object) { policy.ClusterRoles = pointers(o.(*rbacv1.ClusterRoleList).Items) },
		"clusterrolebindings": func(o runtime.Object) {
			policy.ClusterRoleBindings = pointers(o.(*rbacv1.ClusterRoleBindingList).Items)
		},
		"roles":        func(o runtime.Object) { policy.Roles = pointers(o.(*rbacv1.RoleList).Items) },
		"rolebindings": func(o runtime.Object) { policy.RoleBindings = pointers(o.(*rbacv1.RoleBindingList).Items) },
	} {
		list, err := p.of(resource).List(genericapirequest.WithNamespace(ctx, ""), &metainternalversion.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", resource, err)
		}
		add(list)
	}
	return policy, nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

// policyWriters is how many roles and bindings are on their way to etcd at once: it syncs its log
// once for all that wait.
const policyWriters = 32

// Write stores what Reconcile planned.
func (p policyStore) Write(ctx context.Context, changes []access.Change) error {
	return access.WriteEach(ctx, changes, policyWriters, p.write)
}

func (p policyStore) write(ctx context.Context, c access.Change) error {
	ctx = genericapirequest.WithNamespace(ctx, c.New.GetNamespace())
	store := p.of(plural(c.New))
	obj := c.New.DeepCopyObject()
	switch c.Operation {
	case access.Update:
		_, _, err := store.Update(ctx, c.New.GetName(), rest.DefaultUpdatedObjectInfo(obj), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		return err
	case access.Recreate:
		uid := c.Old.GetUID()
		options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
		if _, _, err := store.Delete(ctx, c.New.GetName(), rest.ValidateAllObjectFunc, options); err != nil {
			return err
		}
	case access.Create:
	}
	_, err := store.Create(ctx, obj, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	return err
}

func plural(obj any) string {
	switch obj.(type) {
	case *rbacv1.ClusterRole:
		return "clusterroles"
	case *rbacv1.ClusterRoleBinding:
		return "clusterrolebindings"
	case *rbacv1.Role:
		return "roles"
	default:
		return "rolebindings"
	}
}
