package access

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/component-helpers/auth/rbac/validation"
	compact "k8s.io/kubectl/pkg/util/rbac"
)

// RoleReader returns the rules of a Role, or with an empty namespace of a ClusterRole. Its error
// is an API status: NotFound when there is no such role.
type RoleReader interface {
	RoleRules(ctx context.Context, namespace, name string) ([]rbacv1.PolicyRule, error)
}

// Guard refuses to let a user grant more than they hold. Its Begin methods fit the field of that
// name in resource.Resource. Excepted are system:masters, holders of the verb escalate on the role
// or bind on the role referred to, and writes that only help the object to be deleted.
type Guard struct {
	// Held knows what the user may do.
	Held *Index
	// Authorizer answers for the verbs escalate and bind.
	Authorizer authorizer.UnconditionalAuthorizer
	// Roles reads the role that a binding refers to. It should read from storage, so that a role
	// can be bound the moment it is created; nil means Held.
	Roles RoleReader
}

// everything is what only a cluster administrator holds.
var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

// BeginRole checks a Role before it is stored.
func (g *Guard) BeginRole(ctx context.Context, obj, old runtime.Object, _ bool) error {
	role := obj.(*rbacv1.Role)
	if g.mayEscalate(ctx, "roles") || onlyForDeletion(obj, old) {
		return nil
	}
	return forbid("roles", role.Name, g.confirmHeld(ctx, role.Rules))
}

// BeginClusterRole checks a ClusterRole before it is stored. One that gathers rules of others, or
// did until now, is for those who hold everything: what it will gather cannot be known.
func (g *Guard) BeginClusterRole(ctx context.Context, obj, old runtime.Object, _ bool) error {
	role := obj.(*rbacv1.ClusterRole)
	if g.mayEscalate(ctx, "clusterroles") || onlyForDeletion(obj, old) {
		return nil
	}
	if err := g.confirmHeld(ctx, role.Rules); err != nil {
		return forbid("clusterroles", role.Name, err)
	}
	before, _ := old.(*rbacv1.ClusterRole)
	gathers := role.AggregationRule != nil || before != nil && before.AggregationRule != nil
	if gathers && g.confirmHeld(ctx, everything) != nil {
		return forbid("clusterroles", role.Name, errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

// BeginRoleBinding checks a RoleBinding before it is stored.
func (g *Guard) BeginRoleBinding(ctx context.Context, obj, old runtime.Object, _ bool) error {
	binding := obj.(*rbacv1.RoleBinding)
	namespace := genericapirequest.NamespaceValue(ctx)
	return g.beginBinding(ctx, "rolebindings", binding.Name, namespace, binding.RoleRef, onlyForDeletion(obj, old))
}

// BeginClusterRoleBinding checks a ClusterRoleBinding before it is stored.
func (g *Guard) BeginClusterRoleBinding(ctx context.Context, obj, old runtime.Object, _ bool) error {
	binding := obj.(*rbacv1.ClusterRoleBinding)
	return g.beginBinding(ctx, "clusterrolebindings", binding.Name, "", binding.RoleRef, onlyForDeletion(obj, old))
}

func (g *Guard) beginBinding(ctx context.Context, resource, name, namespace string, ref rbacv1.RoleRef, harmless bool) error {
	role, known := roleOf(ref, namespace)
	if !known || harmless || g.mayBind(ctx, role, namespace) {
		return nil // an unknown kind of role is for validation to refuse
	}
	var roles RoleReader = g.Held
	if g.Roles != nil {
		roles = g.Roles
	}
	rules, err := roles.RoleRules(ctx, role.namespace, role.name)
	if err != nil {
		return err
	}
	return forbid(resource, name, g.confirmHeld(ctx, rules))
}

// mayEscalate: a master, or allowed the verb escalate on the role of this request.
func (g *Guard) mayEscalate(ctx context.Context, resource string) bool {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return false
	}
	info, ok := genericapirequest.RequestInfoFrom(ctx)
	if isMaster(u) {
		return true
	}
	if !ok || !info.IsResourceRequest || info.Resource != resource {
		return false
	}
	return g.allowed(ctx, authorizer.AttributesRecord{
		User: u, Verb: "escalate", APIGroup: rbacv1.GroupName, APIVersion: "*",
		Resource: resource, Name: info.Name, Namespace: info.Namespace, ResourceRequest: true,
	})
}

// mayBind: a master, or allowed the verb bind on the role, within the namespace of the binding.
func (g *Guard) mayBind(ctx context.Context, role objectKey, namespace string) bool {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return false
	}
	resource := "roles"
	if role.namespace == "" {
		resource = "clusterroles"
	}
	return isMaster(u) || g.allowed(ctx, authorizer.AttributesRecord{
		User: u, Verb: "bind", APIGroup: rbacv1.GroupName, APIVersion: "*",
		Resource: resource, Name: role.name, Namespace: namespace, ResourceRequest: true,
	})
}

func (g *Guard) allowed(ctx context.Context, a authorizer.Attributes) bool {
	decision, _, err := g.Authorizer.Authorize(ctx, a)
	return err == nil && decision == authorizer.DecisionAllow
}

// confirmHeld returns an error listing those of rules that the user of the request lacks.
func (g *Guard) confirmHeld(ctx context.Context, rules []rbacv1.PolicyRule) error {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return errors.New("no user on context")
	}
	held, unresolved := g.Held.rulesOf(u, genericapirequest.NamespaceValue(ctx))
	covered, missing := validation.Covers(held, rules)
	if covered {
		return nil
	}
	return errors.New(describeMissing(u, missing, unresolved))
}

// describeMissing writes for example
//
//	user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
//	{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}
func describeMissing(u user.Info, missing []rbacv1.PolicyRule, unresolved error) string {
	if compacted, err := compact.CompactRules(missing); err == nil {
		missing = compacted
	}
	lines := make([]string, 0, len(missing))
	for i := range missing {
		lines = append(lines, describeRule(&missing[i]))
	}
	slices.Sort(lines)
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if unresolved != nil {
		text += fmt.Sprintf("; resolution errors: %v", []error{unresolved})
	}
	return text
}

func describeRule(rule *rbacv1.PolicyRule) string {
	var parts []string
	for _, field := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", rule.APIGroups},
		{"Resources", rule.Resources},
		{"NonResourceURLs", rule.NonResourceURLs},
		{"ResourceNames", rule.ResourceNames},
		{"Verbs", rule.Verbs},
	} {
		if len(field.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", field.name, field.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// forbid turns a reason into the API's answer; nil stays nil.
func forbid(resource, name string, reason error) error {
	if reason == nil {
		return nil
	}
	return apierrors.NewForbidden(rbacv1.Resource(resource), name, reason)
}

// onlyForDeletion reports whether the update touches nothing but what garbage collection and
// finalizers need, so that an object one could not create any more can still go.
func onlyForDeletion(obj, old runtime.Object) bool {
	if old == nil || reflect.ValueOf(old).IsNil() {
		return false
	}
	before := old.(Object)
	after := obj.DeepCopyObject().(Object)
	after.SetOwnerReferences(before.GetOwnerReferences())
	after.SetFinalizers(before.GetFinalizers())
	after.SetManagedFields(before.GetManagedFields())
	return equality.Semantic.DeepEqual(after, before)
}
