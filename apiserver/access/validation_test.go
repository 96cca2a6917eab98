package access

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

func validate(t *testing.T, obj, old runtime.Object) field.ErrorList {
	t.Helper()
	switch obj.(type) {
	case *rbacv1.ClusterRole:
		return ValidateClusterRole(t.Context(), obj, old)
	case *rbacv1.Role:
		return ValidateRole(t.Context(), obj, old)
	case *rbacv1.ClusterRoleBinding:
		DefaultClusterRoleBinding(obj)
		return ValidateClusterRoleBinding(t.Context(), obj, old)
	default:
		DefaultRoleBinding(obj)
		return ValidateRoleBinding(t.Context(), obj, old)
	}
}

func read[T any](t *testing.T, text string) *T {
	t.Helper()
	obj := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestValidate(t *testing.T) {
	role := func(text string) runtime.Object { return read[rbacv1.Role](t, text) }
	clusterRole := func(text string) runtime.Object { return read[rbacv1.ClusterRole](t, text) }
	binding := func(text string) runtime.Object { return read[rbacv1.RoleBinding](t, text) }
	clusterBinding := func(text string) runtime.Object { return read[rbacv1.ClusterRoleBinding](t, text) }
	for _, row := range []struct {
		name string
		obj  runtime.Object
		want string
	}{
		{"empty role", role(`{}`), ""},
		{"empty rule", role(`rules: [{}]`), `[rules[0].verbs: Required value: verbs must contain at least one value, rules[0].apiGroups: Required value: resource rules must supply at least one api group, rules[0].resources: Required value: resource rules must supply at least one resource]`},
		{"URL in a role", role(`rules: [{verbs: [get], nonResourceURLs: [/a]}]`), `rules[0].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs`},
		{"URL in a cluster role", clusterRole(`rules: [{verbs: [get], nonResourceURLs: [/a]}]`), ""},
		{"URL and resources", clusterRole(`rules: [{verbs: [get], nonResourceURLs: [/a], resources: [pods]}]`), `rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs`},
		{"URL and names", clusterRole(`rules: [{verbs: [get], nonResourceURLs: [/a], resourceNames: [x]}]`), `rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs`},
		{"no selector", clusterRole(`aggregationRule: {}`), `aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil`},
		{"bad selector", clusterRole(`aggregationRule: {clusterRoleSelectors: [{matchExpressions: [{key: a, operator: In}]}]}`), `aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required value: must be specified when ` + "`operator`" + ` is 'In' or 'NotIn'`},

		{"binding with defaults", binding(`{roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s}]}`), ""},
		{"empty binding", binding(`{}`), `[roleRef.kind: Unsupported value: "": supported values: "Role", "ClusterRole", roleRef.name: Required value]`},
		{"name of the role", binding(`{roleRef: {kind: Role, name: a/b}}`), `roleRef.name: Invalid value: "a/b": may not contain '/'`},
		{"group of the role", binding(`{roleRef: {kind: Role, name: a, apiGroup: apps}}`), `roleRef.apiGroup: Unsupported value: "apps": supported values: "rbac.authorization.k8s.io"`},
		{"cluster binding to a role", clusterBinding(`{roleRef: {kind: Role, name: r}}`), `roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`},
		{"account without namespace", clusterBinding(`{roleRef: {kind: ClusterRole, name: r}, subjects: [{kind: ServiceAccount, name: s}]}`), `subjects[0].namespace: Required value`},
		{"account with a group", binding(`{roleRef: {kind: Role, name: r}, subjects: [{kind: ServiceAccount, name: s, apiGroup: apps}]}`), `subjects[0].apiGroup: Unsupported value: "apps": supported values: ""`},
		{"name of the account", binding(`{roleRef: {kind: Role, name: r}, subjects: [{kind: ServiceAccount, name: "a:b"}]}`), `subjects[0].name: Invalid value: "a:b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		{"user of a wrong group", binding(`{roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: u, apiGroup: apps}]}`), `subjects[0].apiGroup: Unsupported value: "apps": supported values: "rbac.authorization.k8s.io"`},
		{"subject without anything", binding(`{roleRef: {kind: Role, name: r}, subjects: [{}]}`), `[subjects[0].name: Required value, subjects[0].kind: Unsupported value: "": supported values: "ServiceAccount", "User", "Group"]`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := ""
			if faults := validate(t, row.obj, nil); len(faults) > 0 {
				got = faults.ToAggregate().Error()
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestRoleRefNeverChanges(t *testing.T) {
	old := read[rbacv1.RoleBinding](t, `{roleRef: {kind: Role, name: a, apiGroup: rbac.authorization.k8s.io}}`)
	changed := read[rbacv1.RoleBinding](t, `{roleRef: {kind: ClusterRole, name: a}}`)
	want := `roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"a"}: cannot change roleRef`
	if got := validate(t, changed, old).ToAggregate(); got == nil || got.Error() != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	if got := validate(t, old.DeepCopy(), old); len(got) > 0 {
		t.Errorf("unchanged: %v", got)
	}
}

func TestName(t *testing.T) {
	for name, ok := range map[string]bool{"system:node": true, "A b": true, "a/b": false, "a%b": false, ".": false, "..": false} {
		if got := len(Name(name, false)) == 0; got != ok {
			t.Errorf("%q: ok is %v", name, got)
		}
	}
}
