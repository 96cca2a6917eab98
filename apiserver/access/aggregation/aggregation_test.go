package aggregation

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func role(name, label string, resources ...string) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": label}}}
	for _, resource := range resources {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, Resources: []string{resource}})
	}
	return r
}

func gathering(r *rbacv1.ClusterRole, labels ...string) *rbacv1.ClusterRole {
	r.AggregationRule = &rbacv1.AggregationRule{}
	for _, label := range labels {
		r.AggregationRule.ClusterRoleSelectors = append(r.AggregationRule.ClusterRoleSelectors,
			metav1.LabelSelector{MatchLabels: map[string]string{"to": label}})
	}
	return r
}

func TestRules(t *testing.T) {
	others := []*rbacv1.ClusterRole{
		role("z", "view", "pods"), role("a", "view", "services", "pods"), role("e", "edit", "secrets"),
	}
	for _, row := range []struct {
		name string
		role *rbacv1.ClusterRole
		want string
	}{
		{"own rules without a selector", role("x", "", "nodes"), "nodes"},
		{"roles by name, rules once", gathering(role("x", "", "nodes"), "view"), "services pods"},
		{"selectors in order", gathering(role("x", ""), "edit", "view"), "secrets services pods"},
		{"nothing matches", gathering(role("x", "", "nodes"), "admin"), ""},
		{"never itself", gathering(role("self", "view", "nodes"), "view"), "services pods"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rules, err := Rules(row.role, append(others, row.role))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rule := range rules {
				got = append(got, rule.Resources...)
			}
			if text := strings.Join(got, " "); text != row.want {
				t.Errorf("got %q, want %q", text, row.want)
			}
		})
	}
}

func TestUnreadableSelector(t *testing.T) {
	bad := gathering(role("x", ""), "view")
	bad.AggregationRule.ClusterRoleSelectors[0].MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
	_, err := Rules(bad, nil)
	if err == nil || !strings.HasPrefix(err.Error(), `selector 0 of cluster role "x": `) {
		t.Errorf("got %v", err)
	}
}

func TestDiffer(t *testing.T) {
	a := role("", "", "pods").Rules
	b := role("", "", "pods").Rules
	b[0].APIGroups = []string{}
	if Differ(a, b) || !Differ(a, nil) || !Differ(a, role("", "", "nodes").Rules) {
		t.Error("an empty list is as good as none, and nothing else is the same")
	}
}
