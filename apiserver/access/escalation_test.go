package access

import (
	"context"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// guarded is world with three more people: paul administers shop, rita may escalate one role and
// bind one role, root holds everything by rules.
func guarded() *Guard {
	x := world()
	var p policyParser
	must(p.parse(`
clusterrole role-writer
	all | rbac.authorization.k8s.io: roles rolebindings clusterroles clusterrolebindings
	escalate | rbac.authorization.k8s.io: clusterroles = grown
	bind | rbac.authorization.k8s.io: clusterroles = edit
bind rita role=role-writer to User rita
bind root role=cluster-admin to User root
bind lost-too role=no-such-role to User lost
`))
	p.policy.RoleBindings = append(p.policy.RoleBindings, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "paul-administers"},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "paul"}},
	})
	x.Seed(&p.policy)
	return &Guard{Held: x, Authorizer: WithMasters(x)}
}

func request(ctx context.Context, user, resource, namespace, name string) context.Context {
	ctx = genericapirequest.WithUser(ctx, who(user))
	ctx = genericapirequest.WithNamespace(ctx, namespace)
	return genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{
		IsResourceRequest: true, APIGroup: rbacv1.GroupName, Resource: resource, Namespace: namespace, Name: name,
	})
}

func TestEscalation(t *testing.T) {
	const (
		role        = `{metadata: {namespace: shop, name: x}, rules: [{verbs: [get, list], apiGroups: [""], resources: [pods]}]}`
		nodes       = `{metadata: {namespace: shop, name: x}, rules: [{verbs: [get, list], apiGroups: [""], resources: [nodes, pods]}, {verbs: [get], apiGroups: [""], resources: [secrets], resourceNames: [a]}]}`
		grown       = `{metadata: {name: grown}, rules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"]}]}`
		urls        = `{metadata: {name: u}, rules: [{verbs: [get], nonResourceURLs: [/metrics]}]}`
		gathers     = `{metadata: {name: g}, aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}}`
		toEdit      = `{metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}`
		toDiscovery = `{metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:discovery}}`
		toSecret    = `{metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: one-secret}}`
		toNothing   = `{metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: nothing}}`
		toBootstrap = `{metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node-bootstrapper}}`
	)
	for _, row := range []struct{ name, who, kind, obj, old, want string }{
		{"admin grants what edit may", "paul", "Role", role, "", ""},
		{"nobody in particular", "kate", "Role", role, "", `roles.rbac.authorization.k8s.io "x" is forbidden: user "kate" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`},
		{"admin beyond their namespace's rights", "paul team-a", "Role", nodes, "", `roles.rbac.authorization.k8s.io "x" is forbidden: user "paul" (groups=["team-a" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}`},
		{"several lines, with names", "rita", "Role", nodes, "", `roles.rbac.authorization.k8s.io "x" is forbidden: user "rita" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}
{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}
{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["get"]}`},
		{"missing roles are named", "lost", "Role", role, "", `roles.rbac.authorization.k8s.io "x" is forbidden: user "lost" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}; resolution errors: [[clusterrole.rbac.authorization.k8s.io "no-such-role" not found, role.rbac.authorization.k8s.io "no-such-role" not found]]`},
		{"master", "boss system:masters", "Role", nodes, "", ""},
		{"update needs the same", "kate", "Role", role, `{metadata: {namespace: shop, name: x}}`, `roles.rbac.authorization.k8s.io "x" is forbidden: user "kate" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`},
		{"finalizer removed", "kate", "Role", role, `{metadata: {namespace: shop, name: x, finalizers: [a/b]}, rules: [{verbs: [get, list], apiGroups: [""], resources: [pods]}]}`, ""},

		{"URLs", "rita", "ClusterRole", urls, "", `clusterroles.rbac.authorization.k8s.io "u" is forbidden: user "rita" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{NonResourceURLs:["/metrics"], Verbs:["get"]}`},
		{"escalate on the role", "rita", "ClusterRole", grown, "", ""},
		{"rights in a namespace do not count", "paul", "ClusterRole", `{metadata: {name: x}, rules: [{verbs: [get], apiGroups: [""], resources: [pods]}]}`, "", `clusterroles.rbac.authorization.k8s.io "x" is forbidden: user "paul" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		{"all rights by rules", "root", "ClusterRole", grown, "", ""},
		{"aggregation", "rita", "ClusterRole", gathers, "", `clusterroles.rbac.authorization.k8s.io "g" is forbidden: must have cluster-admin privileges to use the aggregationRule`},
		{"aggregation ended", "rita", "ClusterRole", `{metadata: {name: g}}`, gathers, `clusterroles.rbac.authorization.k8s.io "g" is forbidden: must have cluster-admin privileges to use the aggregationRule`},
		{"aggregation by all rights", "root", "ClusterRole", gathers, "", ""},

		{"admin binds edit", "paul", "RoleBinding", toEdit, "", ""},
		{"admin binds a role of the namespace", "paul", "RoleBinding", toSecret, "", ""},
		{"admin binds beyond", "paul", "RoleBinding", toBootstrap, "", `rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "paul" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:["certificates.k8s.io"], Resources:["certificatesigningrequests"], Verbs:["create" "get" "list" "watch"]}`},
		{"role that is not there", "paul", "RoleBinding", toNothing, "", `role.rbac.authorization.k8s.io "nothing" not found`},
		{"bind on the role", "rita", "RoleBinding", toEdit, "", ""},
		{"no bind on the role", "rita", "RoleBinding", toSecret, "", `rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "rita" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["secrets"], ResourceNames:["password"], Verbs:["get" "watch"]}`},
		{"cluster-wide bind", "rita", "ClusterRoleBinding", toEdit, "", ""},
		{"cluster-wide, held by all", "kate", "ClusterRoleBinding", toDiscovery, "", ""},
		{"cluster-wide by namespace rights", "jane", "ClusterRoleBinding", toBootstrap, "", `clusterrolebindings.rbac.authorization.k8s.io "b" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:["certificates.k8s.io"], Resources:["certificatesigningrequests"], Verbs:["create" "get" "list" "watch"]}`},
		{"label of a binding", "kate", "ClusterRoleBinding", `{metadata: {name: b, labels: {a: b}}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node-bootstrapper}}`, toBootstrap, `clusterrolebindings.rbac.authorization.k8s.io "b" is forbidden: user "kate" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:["certificates.k8s.io"], Resources:["certificatesigningrequests"], Verbs:["create" "get" "list" "watch"]}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := ""
			if err := begin(t, guarded(), row.who, row.kind, row.obj, row.old); err != nil {
				got = err.Error()
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func begin(t *testing.T, g *Guard, user, kind, text, before string) error {
	t.Helper()
	var obj, old runtime.Object
	switch kind {
	case "Role":
		role := read[rbacv1.Role](t, text)
		if obj = role; before != "" {
			old = read[rbacv1.Role](t, before)
		}
		return g.BeginRole(request(t.Context(), user, "roles", "shop", role.Name), obj, old, false)
	case "ClusterRole":
		role := read[rbacv1.ClusterRole](t, text)
		if obj = role; before != "" {
			old = read[rbacv1.ClusterRole](t, before)
		}
		return g.BeginClusterRole(request(t.Context(), user, "clusterroles", "", role.Name), obj, old, false)
	case "RoleBinding":
		obj = read[rbacv1.RoleBinding](t, text)
		return g.BeginRoleBinding(request(t.Context(), user, "rolebindings", "shop", ""), obj, old, false)
	default:
		obj = read[rbacv1.ClusterRoleBinding](t, text)
		if before != "" {
			old = read[rbacv1.ClusterRoleBinding](t, before)
		}
		return g.BeginClusterRoleBinding(request(t.Context(), user, "clusterrolebindings", "", ""), obj, old, false)
	}
}

// TestEscalationWithoutUser: code that forgets to say on whose behalf it writes is refused.
func TestEscalationWithoutUser(t *testing.T) {
	role := read[rbacv1.Role](t, `{metadata: {name: x}, rules: [{verbs: [get], apiGroups: [""], resources: [pods]}]}`)
	err := guarded().BeginRole(t.Context(), role, nil, false)
	if want := `roles.rbac.authorization.k8s.io "x" is forbidden: no user on context`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
