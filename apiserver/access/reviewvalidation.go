package access

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func reviewKind(kind string) schema.GroupKind {
	return schema.GroupKind{Group: authorizationv1.GroupName, Kind: kind}
}

func validateSubjectAccessReview(review *authorizationv1.SubjectAccessReview) field.ErrorList {
	faults := validateReviewSpec(&review.Spec)
	if !emptyMeta(review.ObjectMeta, "") {
		faults = append(faults, field.Invalid(field.NewPath("metadata"), review.ObjectMeta, "must be empty"))
	}
	return faults
}

func validateSelfSubjectAccessReview(review *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	faults := validateAsked(review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	if !emptyMeta(review.ObjectMeta, "") {
		faults = append(faults, field.Invalid(field.NewPath("metadata"), review.ObjectMeta, "must be empty"))
	}
	return faults
}

func validateLocalSubjectAccessReview(review *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	faults := validateReviewSpec(&review.Spec)
	if !emptyMeta(review.ObjectMeta, review.Namespace) {
		faults = append(faults, field.Invalid(field.NewPath("metadata"), review.ObjectMeta, "must be empty except for namespace"))
	}
	spec := field.NewPath("spec")
	if on := review.Spec.ResourceAttributes; on != nil && on.Namespace != review.Namespace {
		faults = append(faults, field.Invalid(spec.Child("resourceAttributes", "namespace"), on.Namespace, "must match metadata.namespace"))
	}
	if off := review.Spec.NonResourceAttributes; off != nil {
		faults = append(faults, field.Invalid(spec.Child("nonResourceAttributes"), off, "disallowed on this kind of request"))
	}
	return faults
}

func validateReviewSpec(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	faults := validateAsked(spec.ResourceAttributes, spec.NonResourceAttributes)
	if spec.User == "" && len(spec.Groups) == 0 {
		faults = append(faults, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return faults
}

func validateAsked(on *authorizationv1.ResourceAttributes, off *authorizationv1.NonResourceAttributes) field.ErrorList {
	spec := field.NewPath("spec")
	switch {
	case on != nil && off != nil:
		return field.ErrorList{field.Invalid(spec.Child("nonResourceAttributes"), off, "cannot be specified in combination with resourceAttributes")}
	case on == nil && off == nil:
		return field.ErrorList{field.Invalid(spec.Child("resourceAttributes"), off, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

// emptyMeta: a review is no object; only its namespace may be given. Managed fields are the
// server's own.
func emptyMeta(meta metav1.ObjectMeta, namespace string) bool {
	meta.ManagedFields = nil
	return equality.Semantic.DeepEqual(meta, metav1.ObjectMeta{Namespace: namespace})
}
