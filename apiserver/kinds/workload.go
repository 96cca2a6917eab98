package kinds

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateDeployment checks an apps/v1 Deployment. Like all selectors of apps/v1, its own never
// changes.
func ValidateDeployment(d, old *appsv1.Deployment) field.ErrorList {
	path, s := field.NewPath("spec"), &d.Spec
	errs := optional(s.Replicas, path.Child("replicas"))
	errs = append(errs, replicated(s.Selector, &s.Template, "deployment", path)...)
	errs = append(errs, required(s.Strategy.Type, path.Child("strategy", "type"),
		appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)...)
	rolling := path.Child("strategy", "rollingUpdate")
	switch r := s.Strategy.RollingUpdate; {
	case r == nil:
	case s.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		errs = append(errs, field.Forbidden(rolling,
			"may not be specified when strategy `type` is 'Recreate'"))
	default:
		errs = append(errs, share(r.MaxUnavailable, rolling.Child("maxUnavailable"), true)...)
		errs = append(errs, share(r.MaxSurge, rolling.Child("maxSurge"), false)...)
		if isZero(r.MaxUnavailable) && isZero(r.MaxSurge) {
			errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), r.MaxUnavailable,
				"may not be 0 when `maxSurge` is 0"))
		}
	}
	errs = append(errs, nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, optional(s.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
	if p := s.ProgressDeadlineSeconds; p != nil {
		errs = append(errs, nonNegative(int64(*p), path.Child("progressDeadlineSeconds"))...)
		if *p <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *p,
				"must be greater than minReadySeconds"))
		}
	}
	if old != nil {
		errs = append(errs, immutable(s.Selector, old.Spec.Selector, path.Child("selector"))...)
	}
	return errs
}

// ValidateReplicaSet checks an apps/v1 ReplicaSet.
func ValidateReplicaSet(r, old *appsv1.ReplicaSet) field.ErrorList {
	path, s := field.NewPath("spec"), &r.Spec
	errs := optional(s.Replicas, path.Child("replicas"))
	errs = append(errs, nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))...)
	// Upstream says "deployment" here too.
	errs = append(errs, replicated(s.Selector, &s.Template, "deployment", path)...)
	if old != nil {
		errs = append(errs, immutable(s.Selector, old.Spec.Selector, path.Child("selector"))...)
	}
	return errs
}

// statefulSetUpdates names what an update may change.
const statefulSetUpdates = "updates to statefulset spec for fields other than 'replicas', 'ordinals', " +
	"'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' " +
	"and 'minReadySeconds' are forbidden"

// ValidateStatefulSet checks an apps/v1 StatefulSet.
func ValidateStatefulSet(st, old *appsv1.StatefulSet) field.ErrorList {
	path, s := field.NewPath("spec"), &st.Spec
	errs := required(s.PodManagementPolicy, path.Child("podManagementPolicy"),
		appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)
	errs = append(errs, required(s.UpdateStrategy.Type, path.Child("updateStrategy", "type"),
		appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType)...)
	errs = append(errs, optional(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, replicated(s.Selector, &s.Template, "statefulset", path)...)
	if old != nil {
		back := s.DeepCopy()
		was := &old.Spec
		back.Replicas, back.Ordinals, back.Template = was.Replicas, was.Ordinals, was.Template
		back.UpdateStrategy, back.RevisionHistoryLimit = was.UpdateStrategy, was.RevisionHistoryLimit
		back.PersistentVolumeClaimRetentionPolicy = was.PersistentVolumeClaimRetentionPolicy
		back.MinReadySeconds = was.MinReadySeconds
		errs = append(errs, forbidChange(back, was, path, statefulSetUpdates)...)
	}
	return errs
}

// ValidateDaemonSet checks an apps/v1 DaemonSet.
func ValidateDaemonSet(d, old *appsv1.DaemonSet) field.ErrorList {
	path, s := field.NewPath("spec"), &d.Spec
	errs := replicated(s.Selector, &s.Template, "daemonset", path)
	errs = append(errs, nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, optional(s.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
	errs = append(errs, required(s.UpdateStrategy.Type, path.Child("updateStrategy", "type"),
		appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType)...)
	if old != nil {
		errs = append(errs, immutable(s.Selector, old.Spec.Selector, path.Child("selector"))...)
	}
	return errs
}

// ValidateReplicationController checks a ReplicationController, whose selector may change.
func ValidateReplicationController(r, _ *corev1.ReplicationController) field.ErrorList {
	path, s := field.NewPath("spec"), &r.Spec
	errs := nonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	errs = append(errs, optional(s.Replicas, path.Child("replicas"))...)
	if s.Template == nil {
		return append(errs, field.Required(path.Child("template"), ""))
	}
	errs = append(errs, template(labels.SelectorFromSet(s.Selector), s.Template, path.Child("template"))...)
	return errs
}

// ValidateControllerRevision keeps the data of a revision as it was.
func ValidateControllerRevision(r, old *appsv1.ControllerRevision) field.ErrorList {
	errs := nonNegative(r.Revision, field.NewPath("revision"))
	if len(r.Data.Raw) == 0 && r.Data.Object == nil {
		errs = append(errs, field.Required(field.NewPath("data"), "data is mandatory"))
	}
	if old != nil {
		errs = append(errs, immutable(r.Data, old.Data, field.NewPath("data"))...)
	}
	return errs
}

// replicated checks the selector of an apps/v1 kind and its template.
func replicated(s *metav1.LabelSelector, t *corev1.PodTemplateSpec, kind string, path *field.Path) (errs field.ErrorList) {
	at := path.Child("selector")
	switch {
	case s == nil:
		errs = append(errs, field.Required(at, ""))
	case len(s.MatchLabels)+len(s.MatchExpressions) == 0:
		errs = append(errs, field.Invalid(at, s, "empty selector is invalid for "+kind))
	default:
		errs = labelSelector(s, at)
	}
	selector, err := metav1.LabelSelectorAsSelector(s) // of nil: one that matches nothing
	if err != nil {
		return append(errs, field.Invalid(at, s, "invalid label selector"))
	}
	return append(errs, template(selector, t, path.Child("template"))...)
}

// template checks a template whose Pods run forever and are found by selector.
func template(selector labels.Selector, t *corev1.PodTemplateSpec, path *field.Path) (errs field.ErrorList) {
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), t.Labels,
			"`selector` does not match template `labels`"))
	}
	errs = append(errs, templateSpec(&t.Spec, path.Child("spec"))...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, oneOf(t.Spec.RestartPolicy, path.Child("spec", "restartPolicy"), corev1.RestartPolicyAlways)...)
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"),
			"activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	return errs
}

// share checks a number or percentage of Pods.
func share(value *intstr.IntOrString, path *field.Path, capped bool) field.ErrorList {
	if value == nil {
		return nil
	}
	if value.Type == intstr.Int {
		return nonNegative(int64(value.IntVal), path)
	}
	if messages := utilvalidation.IsValidPercent(value.StrVal); len(messages) > 0 {
		return faults(path, *value, messages)
	}
	if n, err := intstr.GetScaledValueFromIntOrPercent(value, 100, true); capped && err == nil && n > 100 {
		return field.ErrorList{field.Invalid(path, *value, "must not be greater than 100%")}
	}
	return nil
}

func isZero(value *intstr.IntOrString) bool {
	if value == nil {
		return true
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(value, 100, true)
	return err == nil && n == 0
}

// equal compares as the API does: nil and empty lists are the same.
func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
