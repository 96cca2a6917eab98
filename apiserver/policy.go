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

	"github.com/duetk8s/duet/apiserver/access"
)

// seedPolicy makes sure that the roles and bindings every cluster has are there, and lets the
// authorizer know all of them before the first request of a stranger.
func (s *Server) seedPolicy(ctx context.Context) error {
	policy, err := access.Reconcile(ctx, policyStore{s.stores}, access.Bootstrap())
	if err != nil {
		return err
	}
	s.index.Seed(policy)
	return nil
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
