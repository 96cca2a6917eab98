package access

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// NodeRules tells whether a request is among those that any node may make, as far as a role can say
// it: which objects those may be about is up to package nodeauth. They are the rules of the bootstrap
// ClusterRole system:node, whatever has become of that role since.
func NodeRules() func(authorizer.Attributes) bool {
	return allowing(Bootstrap().ClusterRoles, "system:node")
}

func allowing(roles []*rbacv1.ClusterRole, name string) func(authorizer.Attributes) bool {
	i := slices.IndexFunc(roles, func(r *rbacv1.ClusterRole) bool { return r.Name == name })
	compiled := compile(roles[i].Rules)
	return func(a authorizer.Attributes) bool {
		q := ask(a)
		return compiled.allows(&q)
	}
}
