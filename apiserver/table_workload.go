package apiserver

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/validation"

	"github.com/duetk8s/duet/apiserver/resource"
)

func appsRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "apps", Kind: "Deployment", Plural: "deployments",
			Short: []string{"deploy"}, Categories: all,
			New: newOf[appsv1.Deployment], NewList: newOf[appsv1.DeploymentList],
			Generation: true,
		},
		{
			Group: "apps", Kind: "ReplicaSet", Plural: "replicasets",
			Short: []string{"rs"}, Categories: all,
			New: newOf[appsv1.ReplicaSet], NewList: newOf[appsv1.ReplicaSetList],
			Generation: true,
		},
		{
			Group: "apps", Kind: "StatefulSet", Plural: "statefulsets",
			Short: []string{"sts"}, Categories: all,
			New: newOf[appsv1.StatefulSet], NewList: newOf[appsv1.StatefulSetList],
			Name:       validation.NameIsDNSLabel,
			Generation: true,
		},
		{
			Group: "apps", Kind: "DaemonSet", Plural: "daemonsets",
			Short: []string{"ds"}, Categories: all,
			New: newOf[appsv1.DaemonSet], NewList: newOf[appsv1.DaemonSetList],
			Generation: true,
		},
		{
			Group: "apps", Kind: "ControllerRevision", Plural: "controllerrevisions",
			New: newOf[appsv1.ControllerRevision], NewList: newOf[appsv1.ControllerRevisionList],
			NoStatus: true,
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
		},
	}
}

func batchRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "batch", Kind: "Job", Plural: "jobs", Categories: all,
			New: newOf[batchv1.Job], NewList: newOf[batchv1.JobList],
			Generation: true,
		},
		{
			Group: "batch", Kind: "CronJob", Plural: "cronjobs",
			Short: []string{"cj"}, Categories: all,
			New: newOf[batchv1.CronJob], NewList: newOf[batchv1.CronJobList],
			Generation: true,
		},
	}
}
