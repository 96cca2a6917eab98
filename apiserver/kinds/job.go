package kinds

import (
	"context"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PrepareJob gives a new Job, unless it brings its own, a selector on its UID, and labels its
// Pods with UID and name under the new and the old keys. The UID must be set by then.
func PrepareJob(_ context.Context, j, old *batchv1.Job) {
	if old != nil || isTrue(j.Spec.ManualSelector) {
		return
	}
	t := &j.Spec.Template
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	uid := string(j.UID)
	t.Labels[batchv1.ControllerUidLabel] = uid
	t.Labels["controller-uid"] = uid
	t.Labels[batchv1.JobNameLabel] = j.Name
	t.Labels["job-name"] = j.Name
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = uid
}

// ValidateJob checks a Job. Selector, template and completion mode never change, completions only
// of an indexed Job; while it is suspended and has not started, its Pods may be placed anew.
func ValidateJob(j, old *batchv1.Job) field.ErrorList {
	path, s := field.NewPath("spec"), &j.Spec
	errs := jobSpec(s, path)
	if s.Selector == nil {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	} else {
		errs = append(errs, labelSelector(s.Selector, path.Child("selector"))...)
	}
	if old == nil {
		return errs
	}
	if s.CompletionMode == nil || *s.CompletionMode != batchv1.IndexedCompletion {
		errs = append(errs, immutable(s.Completions, old.Spec.Completions, path.Child("completions"))...)
	}
	errs = append(errs, immutable(s.Selector, old.Spec.Selector, path.Child("selector"))...)
	was := old.Spec.Template.DeepCopy()
	if isTrue(old.Spec.Suspend) && old.Status.StartTime == nil {
		was.Labels, was.Annotations = s.Template.Labels, s.Template.Annotations
		was.Spec.NodeSelector, was.Spec.Affinity = s.Template.Spec.NodeSelector, s.Template.Spec.Affinity
		was.Spec.Tolerations = s.Template.Spec.Tolerations
		was.Spec.SchedulingGates = s.Template.Spec.SchedulingGates
	}
	errs = append(errs, immutable(s.Template, *was, path.Child("template"))...)
	return append(errs, immutable(s.CompletionMode, old.Spec.CompletionMode, path.Child("completionMode"))...)
}

// jobSpec checks what Jobs and the templates of CronJobs have in common.
func jobSpec(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs := optional(s.Parallelism, path.Child("parallelism"))
	errs = append(errs, optional(s.Completions, path.Child("completions"))...)
	errs = append(errs, optional(s.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	errs = append(errs, optional(s.BackoffLimit, path.Child("backoffLimit"))...)
	errs = append(errs, optional(s.TTLSecondsAfterFinished, path.Child("ttlSecondsAfterFinished"))...)
	if s.CompletionMode != nil {
		errs = append(errs, oneOf(*s.CompletionMode, path.Child("completionMode"),
			batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
		if *s.CompletionMode == batchv1.IndexedCompletion && s.Completions == nil {
			errs = append(errs, field.Required(path.Child("completions"),
				"when completion mode is Indexed"))
		}
	}
	at := path.Child("template", "spec")
	errs = append(errs, templateSpec(&s.Template.Spec, at)...)
	switch s.Template.Spec.RestartPolicy {
	case corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever:
	case corev1.RestartPolicyAlways:
		errs = append(errs, field.Required(at.Child("restartPolicy"), `valid values: "OnFailure", "Never"`))
	}
	return errs
}

// maxCronJobName leaves room for the 11 characters that a Job's name adds: 63 - 11.
const maxCronJobName = 52

// ValidateCronJob checks a CronJob.
func ValidateCronJob(c, old *batchv1.CronJob) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &c.Spec
	if old == nil && len(c.Name) > maxCronJobName {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name,
			"must be no more than 52 characters"))
	}
	if s.Schedule == "" {
		errs = append(errs, field.Required(path.Child("schedule"), ""))
	}
	if strings.Contains(s.Schedule, "TZ=") && (old == nil || old.Spec.Schedule != s.Schedule) {
		errs = append(errs, field.Invalid(path.Child("schedule"), s.Schedule,
			"cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	}
	errs = append(errs, timeZone(s.TimeZone, path.Child("timeZone"))...)
	errs = append(errs, optional(s.StartingDeadlineSeconds, path.Child("startingDeadlineSeconds"))...)
	errs = append(errs, required(s.ConcurrencyPolicy, path.Child("concurrencyPolicy"),
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	errs = append(errs, optional(s.SuccessfulJobsHistoryLimit, path.Child("successfulJobsHistoryLimit"))...)
	errs = append(errs, optional(s.FailedJobsHistoryLimit, path.Child("failedJobsHistoryLimit"))...)
	return append(errs, jobSpec(&s.JobTemplate.Spec, path.Child("jobTemplate", "spec"))...)
}

func timeZone(zone *string, path *field.Path) field.ErrorList {
	switch {
	case zone == nil:
		return nil
	case *zone == "":
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be nil or non-empty string")}
	case strings.EqualFold(*zone, "Local"):
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")}
	}
	if _, err := time.LoadLocation(*zone); err != nil {
		return field.ErrorList{field.Invalid(path, zone, err.Error())}
	}
	return nil
}

// ValidateHorizontalPodAutoscaler checks bounds and target.
func ValidateHorizontalPodAutoscaler(h, _ *autoscalingv2.HorizontalPodAutoscaler) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &h.Spec
	if s.MinReplicas != nil && *s.MinReplicas < 1 {
		errs = append(errs, field.Invalid(path.Child("minReplicas"), *s.MinReplicas, "must be greater than or equal to 1"))
	}
	if s.MaxReplicas < 1 {
		errs = append(errs, field.Invalid(path.Child("maxReplicas"), s.MaxReplicas, "must be greater than 0"))
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(path.Child("maxReplicas"), s.MaxReplicas,
			"must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, required(s.ScaleTargetRef.Kind, path.Child("scaleTargetRef", "kind"))...)
	errs = append(errs, required(s.ScaleTargetRef.Name, path.Child("scaleTargetRef", "name"))...)
	for i, m := range s.Metrics {
		at := path.Child("metrics").Index(i)
		present := map[autoscalingv2.MetricSourceType]bool{
			autoscalingv2.ObjectMetricSourceType: m.Object != nil, autoscalingv2.PodsMetricSourceType: m.Pods != nil,
			autoscalingv2.ResourceMetricSourceType:          m.Resource != nil,
			autoscalingv2.ContainerResourceMetricSourceType: m.ContainerResource != nil,
			autoscalingv2.ExternalMetricSourceType:          m.External != nil,
		}
		errs = append(errs, required(m.Type, at.Child("type"), autoscalingv2.ObjectMetricSourceType,
			autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType,
			autoscalingv2.ExternalMetricSourceType, autoscalingv2.ContainerResourceMetricSourceType)...)
		if has, known := present[m.Type]; known && !has {
			name := strings.ToLower(string(m.Type[:1])) + string(m.Type[1:])
			errs = append(errs, field.Required(at.Child(name), "must populate information for the given metric source"))
		}
	}
	return errs
}
