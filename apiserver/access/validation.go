package access

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Name checks the name of a role or binding: anything that can be one segment of a path, colons
// included. It fits resource.Resource.
func Name(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// DefaultRoleBinding names the API group of the role and of users and groups. A service account
// without a namespace stays so, and is understood as of the binding's namespace.
func DefaultRoleBinding(obj runtime.Object) {
	binding := obj.(*rbacv1.RoleBinding)
	defaultBinding(&binding.RoleRef, binding.Subjects)
}

// DefaultClusterRoleBinding is DefaultRoleBinding for a ClusterRoleBinding.
func DefaultClusterRoleBinding(obj runtime.Object) {
	binding := obj.(*rbacv1.ClusterRoleBinding)
	defaultBinding(&binding.RoleRef, binding.Subjects)
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		s := &subjects[i]
		if s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

// ValidateRole reports the faults of a Role.
func ValidateRole(_ context.Context, obj, _ runtime.Object) field.ErrorList {
	return validateRules(obj.(*rbacv1.Role).Rules, true)
}

// ValidateClusterRole reports the faults of a ClusterRole.
func ValidateClusterRole(_ context.Context, obj, _ runtime.Object) field.ErrorList {
	role := obj.(*rbacv1.ClusterRole)
	faults := validateRules(role.Rules, false)
	if role.AggregationRule == nil {
		return faults
	}
	at := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(role.AggregationRule.ClusterRoleSelectors) == 0 {
		faults = append(faults, field.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector := &role.AggregationRule.ClusterRoleSelectors[i]
		options := metav1validation.LabelSelectorValidationOptions{}
		faults = append(faults, metav1validation.ValidateLabelSelector(selector, options, at.Index(i))...)
	}
	return faults
}

// ValidateRoleBinding reports the faults of a RoleBinding.
func ValidateRoleBinding(_ context.Context, obj, old runtime.Object) field.ErrorList {
	binding := obj.(*rbacv1.RoleBinding)
	faults := validateBinding(binding.RoleRef, binding.Subjects, true)
	if before, _ := old.(*rbacv1.RoleBinding); before != nil {
		faults = append(faults, validateSameRole(binding.RoleRef, before.RoleRef)...)
	}
	return faults
}

// ValidateClusterRoleBinding reports the faults of a ClusterRoleBinding.
func ValidateClusterRoleBinding(_ context.Context, obj, old runtime.Object) field.ErrorList {
	binding := obj.(*rbacv1.ClusterRoleBinding)
	faults := validateBinding(binding.RoleRef, binding.Subjects, false)
	if before, _ := old.(*rbacv1.ClusterRoleBinding); before != nil {
		faults = append(faults, validateSameRole(binding.RoleRef, before.RoleRef)...)
	}
	return faults
}

func validateRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var faults field.ErrorList
	for i := range rules {
		faults = append(faults, validateRule(&rules[i], namespaced, field.NewPath("rules").Index(i))...)
	}
	return faults
}

func validateRule(rule *rbacv1.PolicyRule, namespaced bool, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	if len(rule.Verbs) == 0 {
		faults = append(faults, field.Required(at.Child("verbs"), "verbs must contain at least one value"))
	}
	if len(rule.NonResourceURLs) > 0 {
		urls := at.Child("nonResourceURLs")
		if namespaced {
			faults = append(faults, field.Invalid(urls, rule.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(rule.APIGroups) > 0 || len(rule.Resources) > 0 || len(rule.ResourceNames) > 0 {
			faults = append(faults, field.Invalid(urls, rule.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return faults
	}
	if len(rule.APIGroups) == 0 {
		faults = append(faults, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(rule.Resources) == 0 {
		faults = append(faults, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
	return faults
}

func validateBinding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool) field.ErrorList {
	faults := validateRoleRef(ref, namespaced)
	for i := range subjects {
		faults = append(faults, validateSubject(&subjects[i], namespaced, field.NewPath("subjects").Index(i))...)
	}
	return faults
}

func validateRoleRef(ref rbacv1.RoleRef, namespaced bool) field.ErrorList {
	var faults field.ErrorList
	at := field.NewPath("roleRef")
	if ref.APIGroup != rbacv1.GroupName {
		faults = append(faults, field.NotSupported(at.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	kinds := []string{"ClusterRole"}
	if namespaced {
		kinds = []string{"Role", "ClusterRole"}
	}
	if ref.Kind != "ClusterRole" && (!namespaced || ref.Kind != "Role") {
		faults = append(faults, field.NotSupported(at.Child("kind"), ref.Kind, kinds))
	}
	if ref.Name == "" {
		return append(faults, field.Required(at.Child("name"), ""))
	}
	for _, fault := range Name(ref.Name, false) {
		faults = append(faults, field.Invalid(at.Child("name"), ref.Name, fault))
	}
	return faults
}

func validateSubject(s *rbacv1.Subject, namespaced bool, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	if s.Name == "" {
		faults = append(faults, field.Required(at.Child("name"), ""))
	}
	group := func(want string) {
		if s.APIGroup != want {
			faults = append(faults, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{want}))
		}
	}
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			for _, fault := range apivalidation.ValidateServiceAccountName(s.Name, false) {
				faults = append(faults, field.Invalid(at.Child("name"), s.Name, fault))
			}
		}
		group("")
		if !namespaced && s.Namespace == "" {
			faults = append(faults, field.Required(at.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		group(rbacv1.GroupName)
	default:
		kinds := []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}
		faults = append(faults, field.NotSupported(at.Child("kind"), s.Kind, kinds))
	}
	return faults
}

func validateSameRole(ref, before rbacv1.RoleRef) field.ErrorList {
	if ref == before {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), ref, "cannot change roleRef")}
}
