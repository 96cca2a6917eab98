package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/duetk8s/duet/apiserver/columns"
	"github.com/duetk8s/duet/apiserver/defaults"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/resource"
)

func coreRows() []resource.Resource {
	return []resource.Resource{
		{
			Kind: "Pod", Plural: "pods",
			Short: []string{"po"}, Categories: all,
			New: newOf[corev1.Pod], NewList: newOf[corev1.PodList],
			Generation:     true,
			Default:        defaulting(defaults.Pod),
			Prepare:        preparing(kinds.PreparePod),
			PrepareStatus:  preparing(kinds.PreparePodStatus),
			Validate:       validating(kinds.ValidatePod),
			ValidateStatus: validating(kinds.ValidatePodStatus),
			Warnings:       warning(kinds.PodWarnings),
			Fields:         selecting(kinds.PodFields),
			Columns:        columns.Pod(),
		},
		{
			Kind: "Node", Plural: "nodes",
			Short:         []string{"no"},
			ClusterScoped: true,
			New:           newOf[corev1.Node], NewList: newOf[corev1.NodeList],
			Default:  defaulting(defaults.Node),
			Validate: validating(kinds.ValidateNode), ValidateStatus: validating(kinds.ValidateNode),
			Fields:  selecting(kinds.NodeFields),
			Columns: columns.Node(),
		},
		{
			Kind: "Namespace", Plural: "namespaces",
			Short:         []string{"ns"},
			ClusterScoped: true,
			New:           newOf[corev1.Namespace], NewList: newOf[corev1.NamespaceList],
			Name:     validation.NameIsDNSLabel,
			Default:  defaulting(defaults.Namespace),
			Prepare:  preparing(kinds.PrepareNamespace),
			Validate: validating(kinds.ValidateNamespace),
			Fields:   selecting(kinds.NamespaceFields),
			Columns:  columns.Namespace(),
		},
	}
}

func coreDataRows() []resource.Resource {
	return []resource.Resource{
		{
			Kind: "ConfigMap", Plural: "configmaps",
			Short: []string{"cm"},
			New:   newOf[corev1.ConfigMap], NewList: newOf[corev1.ConfigMapList],
			NoStatus: true,
			Validate: validating(kinds.ValidateConfigMap),
			Columns:  columns.ConfigMap(),
		},
		{
			Kind: "Secret", Plural: "secrets",
			New: newOf[corev1.Secret], NewList: newOf[corev1.SecretList],
			NoStatus: true,
			Default:  defaulting(defaults.Secret),
			Validate: validating(kinds.ValidateSecret),
			Fields:   selecting(kinds.SecretFields),
			Columns:  columns.Secret(),
		},
		{
			Kind: "ServiceAccount", Plural: "serviceaccounts",
			Short: []string{"sa"},
			New:   newOf[corev1.ServiceAccount], NewList: newOf[corev1.ServiceAccountList],
			NoStatus: true,
			Columns:  columns.ServiceAccount(),
		},
	}
}

func coreSupportRows() []resource.Resource {
	return []resource.Resource{
		{
			Kind: "Endpoints", Plural: "endpoints",
			Short: []string{"ep"},
			New:   newOf[corev1.Endpoints], NewList: newOf[corev1.EndpointsList], //nolint:staticcheck // served as long as upstream serves it
			NoStatus: true, CreateOnUpdate: true,
			Default:  defaulting(defaults.Endpoints),
			Validate: validating(kinds.ValidateEndpoints),
			Warnings: warning(kinds.EndpointsWarnings),
			Columns:  columns.Endpoints(),
		},
		{
			Kind: "Event", Plural: "events",
			Short: []string{"ev"},
			New:   newOf[corev1.Event], NewList: newOf[corev1.EventList],
			NoStatus: true, CreateOnUpdate: true,
			TTL: eventTTL, NoCache: true,
			Validate: validating(kinds.ValidateEvent),
			Fields:   selecting(kinds.EventFields),
			Columns:  columns.Event(),
		},
		{
			Kind: "LimitRange", Plural: "limitranges",
			Short: []string{"limits"},
			New:   newOf[corev1.LimitRange], NewList: newOf[corev1.LimitRangeList],
			NoStatus: true, CreateOnUpdate: true,
			Default:  defaulting(defaults.LimitRange),
			Validate: validating(kinds.ValidateLimitRange),
			Columns:  columns.LimitRange(),
		},
		{
			Kind: "ResourceQuota", Plural: "resourcequotas",
			Short: []string{"quota"},
			New:   newOf[corev1.ResourceQuota], NewList: newOf[corev1.ResourceQuotaList],
			Validate: validating(kinds.ValidateResourceQuota),
			Columns:  columns.ResourceQuota(),
		},
		{
			Kind: "PodTemplate", Plural: "podtemplates",
			New: newOf[corev1.PodTemplate], NewList: newOf[corev1.PodTemplateList],
			Generation: true, NoStatus: true,
			Default:  defaulting(defaults.PodTemplate),
			Validate: validating(kinds.ValidatePodTemplate),
			Warnings: warning(kinds.PodTemplateWarnings),
			Columns:  columns.PodTemplate(),
		},
		{
			Kind: "ReplicationController", Plural: "replicationcontrollers",
			Short: []string{"rc"}, Categories: all,
			New: newOf[corev1.ReplicationController], NewList: newOf[corev1.ReplicationControllerList],
			Generation: true,
			Scale:      kinds.ReplicationControllerScale(),
			Default:    defaulting(defaults.ReplicationController),
			Validate:   validating(kinds.ValidateReplicationController),
			Warnings:   warning(kinds.ReplicationControllerWarnings),
			Fields:     selecting(kinds.ReplicationControllerFields),
			Columns:    columns.ReplicationController(),
		},
	}
}

// eventRows serves core events a second time under events.k8s.io/v1: one object in etcd, two names
// for its fields. New is therefore the core type, which the scheme knows as the internal version of
// both groups. The REST storage of this row must be the very store of core events (one prefix,
// encoded as core/v1), so that a write by one name is a watch event under both, and field
// selectors by the newer names go through kinds.RegardingLabel.
func eventRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "events.k8s.io", Kind: "Event", Plural: "events",
			Short: []string{"ev"},
			New:   newOf[corev1.Event], NewList: newOf[corev1.EventList],
			NoStatus: true, CreateOnUpdate: true,
			TTL: eventTTL, NoCache: true,
			Validate: validating(kinds.ValidateEvent),
			Fields:   selecting(kinds.EventFields),
			Columns:  columns.Event(),
		},
	}
}

// eventTTL drops events an hour after they were last written.
func eventTTL(runtime.Object) uint64 { return 3600 }
