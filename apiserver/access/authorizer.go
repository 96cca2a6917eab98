package access

import (
	"context"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var (
	_ authorizer.Authorizer   = (*Index)(nil)
	_ authorizer.RuleResolver = (*Index)(nil)
)

// Authorize allows what a role of the user allows, and has no opinion on the rest. The reason
// names the binding that allowed it, or the roles that bindings of the user refer to in vain.
func (x *Index) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "Error", errors.New("no user on request")
	}
	q := ask(a)
	var allowed *grant
	var missing []error

	x.mu.RLock()
	defer x.mu.RUnlock()
	x.visit(u, a.GetNamespace(), func(g *grant, role *compiledRole) bool {
		switch {
		case role == nil:
			missing = append(missing, roleNotFound(g.role))
		case role.allows(&q):
			allowed = g
		}
		return allowed == nil
	})
	switch {
	case allowed != nil:
		return authorizer.DecisionAllow, allowed.reason, nil
	case len(missing) > 0:
		return authorizer.DecisionNoOpinion, fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(missing)), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// ConditionsAwareAuthorize is Authorize: roles carry no conditions.
func (x *Index) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(x.Authorize(ctx, a))
}

// EvaluateConditions fails: roles carry no conditions.
func (x *Index) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor lists what u may do in namespace, the rules that hold everywhere included. The error
// says which bindings refer to roles that do not exist; the lists are right all the same.
func (x *Index) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, err := x.rulesOf(u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var urls []authorizer.NonResourceRuleInfo
	for i := range rules {
		rule := &rules[i]
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{
				Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs,
			})
		}
	}
	return resources, urls, false, err
}

func (x *Index) rulesOf(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	var missing []error
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.visit(u, namespace, func(g *grant, role *compiledRole) bool {
		if role == nil {
			missing = append(missing, roleNotFound(g.role))
		} else {
			rules = append(rules, role.rules...)
		}
		return true
	})
	return rules, utilerrors.NewAggregate(missing)
}

// RoleRules implements [RoleReader] from memory.
func (x *Index) RoleRules(_ context.Context, namespace, name string) ([]rbacv1.PolicyRule, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	key := objectKey{namespace, name}
	role := x.roles[key]
	if role == nil {
		return nil, roleNotFound(key)
	}
	return role.rules, nil
}

// roleNotFound reads `role.rbac.authorization.k8s.io "x" not found`.
func roleNotFound(key objectKey) error {
	resource := rbacv1.Resource("clusterrole")
	if key.namespace != "" {
		resource = rbacv1.Resource("role")
	}
	return apierrors.NewNotFound(resource, key.name)
}

// WithMasters allows members of system:masters everything and asks next about everybody else. It
// keeps the way in when roles are damaged, and gives the server's own loopback client its rights.
// A union of named authorizers would do the same, but puts the names into denial texts.
func WithMasters(next authorizer.Authorizer) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if u := a.GetUser(); u != nil && isMaster(u) {
			return authorizer.DecisionAllow, "", nil
		}
		return next.Authorize(ctx, a)
	})
}

func isMaster(u user.Info) bool {
	return slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup)
}
