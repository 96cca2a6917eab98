// Package aggregation says which rules an aggregated ClusterRole has: those of every other
// ClusterRole that one of its selectors matches.
//
// It is a pure decision. Package access uses it to write complete admin, edit and view roles at
// the first start, and controllers/clusterroleaggregation to keep them complete afterwards.
package aggregation

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Rules returns the rules role gathers from all: selector by selector, roles by name, each rule
// once. The role itself never counts. A role without an aggregation rule keeps its own rules.
// The error names the selector that cannot be read. The result shares memory with all.
func Rules(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	if role.AggregationRule == nil {
		return role.Rules, nil
	}
	byName := slices.Clone(all)
	slices.SortFunc(byName, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })

	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("selector %d of cluster role %q: %w", i, role.Name, err)
		}
		for _, other := range byName {
			if other.Name != role.Name && selector.Matches(labels.Set(other.Labels)) {
				rules = addMissing(rules, other.Rules)
			}
		}
	}
	return rules, nil
}

// Differ reports whether the two lists of rules are not the same, in the same order.
func Differ(a, b []rbacv1.PolicyRule) bool {
	return !slices.EqualFunc(a, b, same)
}

// same compares field by field; an empty list is as good as none.
func same(a, b rbacv1.PolicyRule) bool {
	return slices.Equal(a.Verbs, b.Verbs) && slices.Equal(a.APIGroups, b.APIGroups) &&
		slices.Equal(a.Resources, b.Resources) && slices.Equal(a.ResourceNames, b.ResourceNames) &&
		slices.Equal(a.NonResourceURLs, b.NonResourceURLs)
}

func addMissing(rules, more []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	for _, rule := range more {
		if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return same(r, rule) }) {
			rules = append(rules, rule)
		}
	}
	return rules
}
