package kinds

import (
	rbacv1 "k8s.io/api/rbac/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateRole checks rules, which inside a namespace cannot be about paths.
func ValidateRole(r, _ *rbacv1.Role) (errs field.ErrorList) {
	for i, rule := range r.Rules {
		errs = append(errs, policyRule(rule, true, field.NewPath("rules").Index(i))...)
	}
	return errs
}

// ValidateClusterRole checks rules and the selectors of an aggregated role.
func ValidateClusterRole(r, _ *rbacv1.ClusterRole) (errs field.ErrorList) {
	for i, rule := range r.Rules {
		errs = append(errs, policyRule(rule, false, field.NewPath("rules").Index(i))...)
	}
	if r.AggregationRule == nil {
		return errs
	}
	path := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		return append(errs, field.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		errs = append(errs, labelSelector(&r.AggregationRule.ClusterRoleSelectors[i], path.Index(i))...)
	}
	return errs
}

func policyRule(r rbacv1.PolicyRule, namespaced bool, path *field.Path) (errs field.ErrorList) {
	if len(r.Verbs) == 0 {
		errs = append(errs, field.Required(path.Child("verbs"), "verbs must contain at least one value"))
	}
	if len(r.NonResourceURLs) > 0 {
		if namespaced {
			errs = append(errs, field.Invalid(path.Child("nonResourceURLs"), r.NonResourceURLs,
				"namespaced rules cannot apply to non-resource URLs"))
		}
		if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
			errs = append(errs, field.Invalid(path.Child("nonResourceURLs"), r.NonResourceURLs,
				"rules cannot apply to both regular resources and non-resource URLs"))
		}
		return errs
	}
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(path.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(path.Child("resources"), "resource rules must supply at least one resource"))
	}
	return errs
}

// ValidateRoleBinding checks role and subjects. The role of a binding never changes.
func ValidateRoleBinding(b, old *rbacv1.RoleBinding) field.ErrorList {
	errs := roleBinding(b.RoleRef, b.Subjects, "Role", "ClusterRole")
	if old != nil {
		errs = append(errs, sameRole(b.RoleRef, old.RoleRef)...)
	}
	return errs
}

// ValidateClusterRoleBinding checks role and subjects. The role of a binding never changes.
func ValidateClusterRoleBinding(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
	errs := roleBinding(b.RoleRef, b.Subjects, "ClusterRole")
	if old != nil {
		errs = append(errs, sameRole(b.RoleRef, old.RoleRef)...)
	}
	return errs
}

func sameRole(role, old rbacv1.RoleRef) field.ErrorList {
	if role == old {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), role, "cannot change roleRef")}
}

func roleBinding(role rbacv1.RoleRef, subjects []rbacv1.Subject, kinds ...string) field.ErrorList {
	path := field.NewPath("roleRef")
	errs := oneOf(role.APIGroup, path.Child("apiGroup"), rbacv1.GroupName)
	errs = append(errs, oneOf(role.Kind, path.Child("kind"), kinds...)...)
	if role.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	cluster := len(kinds) == 1
	for i, s := range subjects {
		errs = append(errs, subject(s, cluster, field.NewPath("subjects").Index(i))...)
	}
	return errs
}

func subject(s rbacv1.Subject, cluster bool, path *field.Path) (errs field.ErrorList) {
	if s.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			errs = append(errs, faults(path.Child("name"), s.Name, utilvalidation.IsDNS1123Subdomain(s.Name))...)
		}
		errs = append(errs, oneOf(s.APIGroup, path.Child("apiGroup"), "")...)
		if cluster && s.Namespace == "" {
			errs = append(errs, field.Required(path.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		errs = append(errs, oneOf(s.APIGroup, path.Child("apiGroup"), rbacv1.GroupName)...)
	default:
		errs = append(errs, oneOf(s.Kind, path.Child("kind"),
			rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)...)
	}
	return errs
}
