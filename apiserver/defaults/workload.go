package defaults

import (
	"maps"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Deployment defaults an apps/v1 Deployment; its selector has no default.
func Deployment(d *appsv1.Deployment) {
	PodSpec(&d.Spec.Template.Spec)
	point(&d.Spec.Replicas, 1)
	point(&d.Spec.RevisionHistoryLimit, 10)
	point(&d.Spec.ProgressDeadlineSeconds, 600)
	strategy := &d.Spec.Strategy
	fill(&strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		point(&strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		point(&strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		point(&strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
}

// ReplicaSet defaults an apps/v1 ReplicaSet.
func ReplicaSet(r *appsv1.ReplicaSet) {
	PodSpec(&r.Spec.Template.Spec)
	point(&r.Spec.Replicas, 1)
}

// StatefulSet defaults an apps/v1 StatefulSet and its claim templates.
func StatefulSet(s *appsv1.StatefulSet) {
	PodSpec(&s.Spec.Template.Spec)
	point(&s.Spec.Replicas, 1)
	point(&s.Spec.RevisionHistoryLimit, 10)
	fill(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	fill(&s.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if s.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		point(&s.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
		point(&s.Spec.UpdateStrategy.RollingUpdate.Partition, 0)
	}
	point(&s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	retention := s.Spec.PersistentVolumeClaimRetentionPolicy
	fill(&retention.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fill(&retention.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	for i := range s.Spec.VolumeClaimTemplates {
		PersistentVolumeClaim(&s.Spec.VolumeClaimTemplates[i])
	}
}

// DaemonSet defaults an apps/v1 DaemonSet.
func DaemonSet(d *appsv1.DaemonSet) {
	PodSpec(&d.Spec.Template.Spec)
	point(&d.Spec.RevisionHistoryLimit, 10)
	strategy := &d.Spec.UpdateStrategy
	fill(&strategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if strategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		point(&strategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		point(&strategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		point(&strategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
}

// ReplicationController takes selector and labels from its template.
func ReplicationController(r *corev1.ReplicationController) {
	point(&r.Spec.Replicas, 1)
	if r.Spec.Template == nil {
		return
	}
	PodSpec(&r.Spec.Template.Spec)
	labels := r.Spec.Template.Labels
	if len(labels) == 0 {
		return
	}
	if len(r.Spec.Selector) == 0 {
		r.Spec.Selector = maps.Clone(labels)
	}
	if len(r.Labels) == 0 {
		r.Labels = maps.Clone(labels)
	}
}

// Job defaults a Job. Without completions and parallelism it runs one Pod; with parallelism alone
// it is a work queue.
func Job(j *batchv1.Job) {
	s := &j.Spec
	PodSpec(&s.Template.Spec)
	if s.Completions == nil && s.Parallelism == nil {
		point(&s.Completions, 1)
	}
	point(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		point(&s.BackoffLimit, math.MaxInt32)
	}
	point(&s.BackoffLimit, 6)
	point(&s.CompletionMode, batchv1.NonIndexedCompletion)
	point(&s.Suspend, false)
	point(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		point(&s.PodReplacementPolicy, batchv1.Failed)
		for _, rule := range s.PodFailurePolicy.Rules {
			for i := range rule.OnPodConditions {
				fill(&rule.OnPodConditions[i].Status, corev1.ConditionTrue)
			}
		}
	}
	point(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	if len(j.Labels) == 0 && len(s.Template.Labels) > 0 {
		j.Labels = maps.Clone(s.Template.Labels)
	}
}

// CronJob defaults a CronJob. Of its Job template only the Pod is defaulted; the rest is when the
// Job is made.
func CronJob(c *batchv1.CronJob) {
	PodSpec(&c.Spec.JobTemplate.Spec.Template.Spec)
	fill(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
	point(&c.Spec.Suspend, false)
	point(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	point(&c.Spec.FailedJobsHistoryLimit, 1)
}

// HorizontalPodAutoscaler aims at 80 % of the requested CPU unless told otherwise.
func HorizontalPodAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) {
	point(&h.Spec.MinReplicas, 1)
	if len(h.Spec.Metrics) == 0 {
		utilization := int32(80)
		h.Spec.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{
					Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization,
				},
			},
		}}
	}
	if b := h.Spec.Behavior; b != nil {
		scalingRules(&b.ScaleUp, 0,
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
		scalingRules(&b.ScaleDown, -1,
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
	}
}

// scalingRules fills one direction; a window below 0 stays open, as the controller has its own.
func scalingRules(rules **autoscalingv2.HPAScalingRules, window int32, policies ...autoscalingv2.HPAScalingPolicy) {
	point(rules, autoscalingv2.HPAScalingRules{})
	r := *rules
	if window >= 0 {
		point(&r.StabilizationWindowSeconds, window)
	}
	point(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
}
