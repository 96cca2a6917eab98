package kinds

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PrepareNamespace gives a new Namespace the finalizer that its contents are deleted by, and the
// label with its own name (again: a generated name was not there yet when defaults ran). An
// update cannot touch finalizers: the finalize subresource does.
func PrepareNamespace(_ context.Context, n, old *corev1.Namespace) {
	if old != nil {
		n.Spec.Finalizers = old.Spec.Finalizers
		return
	}
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

// ValidateNamespace checks spec.finalizers, also for the finalize subresource.
func ValidateNamespace(n, _ *corev1.Namespace) (errs field.ErrorList) {
	for i, f := range n.Spec.Finalizers {
		path := field.NewPath("spec", "finalizers").Index(i)
		name := string(f)
		errs = append(errs, faults(path, name, content.IsLabelKey(name))...)
		if f != corev1.FinalizerKubernetes && !strings.Contains(name, "/") {
			errs = append(errs, field.Invalid(path, name,
				"name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// ValidateEvent checks that an event lives in the namespace of what it is about: "default" for
// things outside namespaces, which may also use kube-system.
func ValidateEvent(e, _ *corev1.Event) field.ErrorList {
	path, about := field.NewPath("involvedObject", "namespace"), e.InvolvedObject.Namespace
	if about == "" {
		if e.Namespace != "" && e.Namespace != "default" && e.Namespace != "kube-system" {
			return field.ErrorList{field.Invalid(path, about, "does not match event.namespace")}
		}
		return nil
	}
	if e.Namespace != about {
		return field.ErrorList{field.Invalid(path, about, "does not match event.namespace")}
	}
	return nil
}

// ValidateResourceQuota checks that limits are not negative and scopes are known and stay.
func ValidateResourceQuota(q, old *corev1.ResourceQuota) (errs field.ErrorList) {
	path := field.NewPath("spec")
	for _, name := range sorted(stringKeys(q.Spec.Hard)) {
		amount, at := q.Spec.Hard[corev1.ResourceName(name)], path.Child("hard").Key(name)
		errs = append(errs, faults(at, name, content.IsLabelKey(name))...)
		if amount.Sign() < 0 {
			errs = append(errs, field.Invalid(at, amount.String(), negative))
		}
	}
	for i, scope := range q.Spec.Scopes {
		errs = append(errs, oneOf(scope, path.Child("scopes").Index(i),
			corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
			corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass,
			corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass)...)
	}
	if old != nil {
		errs = append(errs, immutable(q.Spec.Scopes, old.Spec.Scopes, path.Child("scopes"))...)
		errs = append(errs, immutable(q.Spec.ScopeSelector, old.Spec.ScopeSelector, path.Child("scopeSelector"))...)
	}
	return errs
}

func stringKeys(list corev1.ResourceList) map[string]struct{} {
	keys := map[string]struct{}{}
	for name := range list {
		keys[string(name)] = struct{}{}
	}
	return keys
}

// ValidateLimitRange checks that each type is limited once, and that bounds and defaults of each
// resource are in order: min ≤ default request ≤ default ≤ max.
func ValidateLimitRange(l, _ *corev1.LimitRange) (errs field.ErrorList) {
	seen := map[corev1.LimitType]bool{}
	for i, item := range l.Spec.Limits {
		path := field.NewPath("spec", "limits").Index(i)
		switch {
		case item.Type == "":
			errs = append(errs, field.Required(path.Child("type"), ""))
		case seen[item.Type]:
			errs = append(errs, field.Duplicate(path.Child("type"), item.Type))
		}
		seen[item.Type] = true
		ordered := func(low, high corev1.ResourceList, name, lowText, highText string) {
			for _, key := range sorted(stringKeys(low)) {
				small := low[corev1.ResourceName(key)]
				big, ok := high[corev1.ResourceName(key)]
				if ok && small.Cmp(big) > 0 {
					errs = append(errs, field.Invalid(path.Child(name).Key(key), small.String(),
						fmt.Sprintf("%s value %s is greater than %s value %s", lowText, small.String(), highText, big.String())))
				}
			}
		}
		ordered(item.Min, item.Max, "min", "min", "max")
		ordered(item.Min, item.DefaultRequest, "defaultRequest", "min", "default request")
		ordered(item.DefaultRequest, item.Max, "defaultRequest", "default request", "max")
		ordered(item.DefaultRequest, item.Default, "defaultRequest", "default request", "default limit")
		ordered(item.Default, item.Max, "default", "default", "max")
	}
	return errs
}
