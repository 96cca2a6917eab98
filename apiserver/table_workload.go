package apiserver

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/validation"

	"github.com/duetk8s/duet/apiserver/columns"
	"github.com/duetk8s/duet/apiserver/defaults"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/resource"
)

func appsRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "apps", Kind: "Deployment", Plural: "deployments",
			Short: []string{"deploy"}, Categories: all,
			New: newOf[appsv1.Deployment], NewList: newOf[appsv1.DeploymentList],
			Generation: true,
			Scale:      kinds.DeploymentScale(),
			Default:    defaulting(defaults.Deployment),
			Validate:   validating(kinds.ValidateDeployment),
			Warnings:   warning(kinds.DeploymentWarnings),
			Columns:    columns.Deployment(),
		},
		{
			Group: "apps", Kind: "ReplicaSet", Plural: "replicasets",
			Short: []string{"rs"}, Categories: all,
			New: newOf[appsv1.ReplicaSet], NewList: newOf[appsv1.ReplicaSetList],
			Generation: true,
			Scale:      kinds.ReplicaSetScale(),
			Default:    defaulting(defaults.ReplicaSet),
			Validate:   validating(kinds.ValidateReplicaSet),
			Warnings:   warning(kinds.ReplicaSetWarnings),
			Fields:     selecting(kinds.ReplicaSetFields),
			Columns:    columns.ReplicaSet(),
		},
		{
			Group: "apps", Kind: "StatefulSet", Plural: "statefulsets",
			Short: []string{"sts"}, Categories: all,
			New: newOf[appsv1.StatefulSet], NewList: newOf[appsv1.StatefulSetList],
			Name:       validation.NameIsDNSLabel,
			Generation: true,
			Scale:      kinds.StatefulSetScale(),
			Default:    defaulting(defaults.StatefulSet),
			Validate:   validating(kinds.ValidateStatefulSet),
			Warnings:   warning(kinds.StatefulSetWarnings),
			Columns:    columns.StatefulSet(),
		},
		{
			Group: "apps", Kind: "DaemonSet", Plural: "daemonsets",
			Short: []string{"ds"}, Categories: all,
			New: newOf[appsv1.DaemonSet], NewList: newOf[appsv1.DaemonSetList],
			Generation: true,
			Default:    defaulting(defaults.DaemonSet),
			Validate:   validating(kinds.ValidateDaemonSet),
			Warnings:   warning(kinds.DaemonSetWarnings),
			Columns:    columns.DaemonSet(),
		},
		{
			Group: "apps", Kind: "ControllerRevision", Plural: "controllerrevisions",
			New: newOf[appsv1.ControllerRevision], NewList: newOf[appsv1.ControllerRevisionList],
			NoStatus: true,
			Validate: validating(kinds.ValidateControllerRevision),
			Columns:  columns.ControllerRevision(),
		},
	}
}

func autoscalingRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "autoscaling", Kind: "HorizontalPodAutoscaler", Plural: "horizontalpodautoscalers",
			Versions: []string{"v2"},
			Short:    []string{"hpa"}, Categories: all,
			New: newOf[autoscalingv2.HorizontalPodAutoscaler], NewList: newOf[autoscalingv2.HorizontalPodAutoscalerList],
			Default:  defaulting(defaults.HorizontalPodAutoscaler),
			Validate: validating(kinds.ValidateHorizontalPodAutoscaler),
			Columns:  columns.HorizontalPodAutoscaler(),
		},
	}
}

func batchRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "batch", Kind: "Job", Plural: "jobs", Categories: all,
			New: newOf[batchv1.Job], NewList: newOf[batchv1.JobList],
			Generation: true,
			Default:    defaulting(defaults.Job),
			Prepare:    preparing(kinds.PrepareJob),
			Validate:   validating(kinds.ValidateJob),
			Warnings:   warning(kinds.JobWarnings),
			Fields:     selecting(kinds.JobFields),
			Columns:    columns.Job(),
		},
		{
			Group: "batch", Kind: "CronJob", Plural: "cronjobs",
			Short: []string{"cj"}, Categories: all,
			New: newOf[batchv1.CronJob], NewList: newOf[batchv1.CronJobList],
			Generation: true,
			Default:    defaulting(defaults.CronJob),
			Validate:   validating(kinds.ValidateCronJob),
			Warnings:   warning(kinds.CronJobWarnings),
			Columns:    columns.CronJob(),
		},
	}
}
