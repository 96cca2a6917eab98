package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/duetk8s/duet/test/golden"
)

// TestBootstrapPolicy prints the whole policy, object by object.
func TestBootstrapPolicy(t *testing.T) {
	var objects []string
	for obj := range Bootstrap().objects() {
		objects = append(objects, describe(obj))
	}
	slices.Sort(objects)
	golden.Check(t, "testdata/bootstrap.txt", strings.Join(objects, ""))
}

func describe(obj Object) string {
	name := obj.GetName()
	if obj.GetNamespace() != "" {
		name = obj.GetNamespace() + "/" + name
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", kindOf(obj), name)
	for _, label := range slices.Sorted(maps.Keys(obj.GetLabels())) {
		if label != "kubernetes.io/bootstrapping" {
			fmt.Fprintf(&b, " %s", label)
		}
	}
	b.WriteString("\n")
	rules := func(rules []rbacv1.PolicyRule) {
		for i := range rules {
			fmt.Fprintf(&b, "  %s\n", describeRule(&rules[i]))
		}
	}
	subjects := func(ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		fmt.Fprintf(&b, "  %s %s\n", ref.Kind, ref.Name)
		for _, s := range subjects {
			fmt.Fprintf(&b, "  to %s %s\n", s.Kind, strings.TrimPrefix(s.Namespace+"/"+s.Name, "/"))
		}
	}
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		if o.AggregationRule != nil {
			for _, selector := range o.AggregationRule.ClusterRoleSelectors {
				fmt.Fprintf(&b, "  gathers %v\n", slices.Sorted(maps.Keys(selector.MatchLabels)))
			}
		}
		rules(o.Rules)
	case *rbacv1.Role:
		rules(o.Rules)
	case *rbacv1.ClusterRoleBinding:
		subjects(o.RoleRef, o.Subjects)
	case *rbacv1.RoleBinding:
		subjects(o.RoleRef, o.Subjects)
	}
	return b.String()
}

// TestBootstrapPolicyIsSound: names once, every object valid and marked, every binding to a role
// that is there.
func TestBootstrapPolicyIsSound(t *testing.T) {
	policy := Bootstrap()
	roles := map[objectKey]bool{}
	seen := map[kindKey]bool{}
	for obj := range policy.objects() {
		key := kindKey{kindOf(obj), keyOf(obj)}
		if seen[key] {
			t.Errorf("%v twice", key)
		}
		seen[key] = true
		if obj.GetLabels()["kubernetes.io/bootstrapping"] != "rbac-defaults" || obj.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("%v lacks its label or annotation", key)
		}
		for _, fault := range validate(t, obj, nil) {
			t.Errorf("%v: %s", key, fault)
		}
		switch o := obj.(type) {
		case *rbacv1.ClusterRole, *rbacv1.Role:
			roles[key.objectKey] = true
		case *rbacv1.ClusterRoleBinding:
			if !roles[objectKey{"", o.RoleRef.Name}] {
				t.Errorf("%v is bound to nothing", key)
			}
		case *rbacv1.RoleBinding:
			if !roles[objectKey{o.Namespace, o.RoleRef.Name}] {
				t.Errorf("%v is bound to nothing", key)
			}
		}
	}
	t.Logf("%d objects", len(seen))
}

// TestB5_11 lists who is granted servicecidrs or ipaddresses by name.
func TestB5_11(t *testing.T) {
	var got []string
	for _, role := range Bootstrap().ClusterRoles {
		for i := range role.Rules {
			if slices.Contains(role.Rules[i].APIGroups, "networking.k8s.io") && (slices.Contains(role.Rules[i].Resources, "servicecidrs") || slices.Contains(role.Rules[i].Resources, "ipaddresses")) {
				got = append(got, role.Name)
			}
		}
	}
	want := []string{"system:controller:service-cidrs-controller", "system:node-proxier"}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("granted to %q, want %q", got, want)
	}
}

func TestPolicyParserRefuses(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"rule without a role", "\tread | pods", "line 1: a rule before any role"},
		{"rule without a bar", "clusterrole a\n\tread pods", "line 2: a rule without |"},
		{"unknown statement", "user jane", `line 1: unknown statement "user"`},
		{"no name", "clusterrole", `line 1: "clusterrole" lacks a name`},
		{"unknown option", "clusterrole a b", `line 1: unknown option "b"`},
		{"no subjects", "bind a to", `line 1: binding "a" lacks its subjects`},
		{"unknown subject", "bind a to Robot r2", `line 1: unknown kind of subject "Robot"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := new(policyParser).parse(row.text)
			if err == nil || err.Error() != row.want {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}
