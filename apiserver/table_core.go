package apiserver

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/duetk8s/duet/apiserver/resource"
)

func coreRows() []resource.Resource {
	return []resource.Resource{
		{
			Kind: "Pod", Plural: "pods",
			Short: []string{"po"}, Categories: all,
			New: newOf[v1.Pod], NewList: newOf[v1.PodList],
			Generation: true,
		},
		{
			Kind: "Node", Plural: "nodes",
			Short:         []string{"no"},
			ClusterScoped: true,
			New:           newOf[v1.Node], NewList: newOf[v1.NodeList],
		},
		{
			Kind: "Namespace", Plural: "namespaces",
			Short:         []string{"ns"},
			ClusterScoped: true,
			New:           newOf[v1.Namespace], NewList: newOf[v1.NamespaceList],
			Name: validation.NameIsDNSLabel,
		},
		{
			Kind: "ConfigMap", Plural: "configmaps",
			Short: []string{"cm"},
			New:   newOf[v1.ConfigMap], NewList: newOf[v1.ConfigMapList],
			NoStatus: true,
		},
		{
			Kind: "Secret", Plural: "secrets",
			New: newOf[v1.Secret], NewList: newOf[v1.SecretList],
			NoStatus: true,
		},
		{
			Kind: "ServiceAccount", Plural: "serviceaccounts",
			Short: []string{"sa"},
			New:   newOf[v1.ServiceAccount], NewList: newOf[v1.ServiceAccountList],
			NoStatus: true,
		},
		{
			Kind: "Endpoints", Plural: "endpoints",
			Short: []string{"ep"},
			New:   newOf[v1.Endpoints], NewList: newOf[v1.EndpointsList],
			NoStatus: true, CreateOnUpdate: true,
		},
		{
			Kind: "Event", Plural: "events",
			Short: []string{"ev"},
			New:   newOf[v1.Event], NewList: newOf[v1.EventList],
			NoStatus: true, CreateOnUpdate: true,
			TTL: eventTTL, NoCache: true,
		},
		{
			Kind: "LimitRange", Plural: "limitranges",
			Short: []string{"limits"},
			New:   newOf[v1.LimitRange], NewList: newOf[v1.LimitRangeList],
			NoStatus: true, CreateOnUpdate: true,
		},
		{
			Kind: "ResourceQuota", Plural: "resourcequotas",
			Short: []string{"quota"},
			New:   newOf[v1.ResourceQuota], NewList: newOf[v1.ResourceQuotaList],
		},
		{
			Kind: "PodTemplate", Plural: "podtemplates",
			New: newOf[v1.PodTemplate], NewList: newOf[v1.PodTemplateList],
			Generation: true, NoStatus: true,
		},
		{
			Kind: "ReplicationController", Plural: "replicationcontrollers",
			Short: []string{"rc"}, Categories: all,
			New: newOf[v1.ReplicationController], NewList: newOf[v1.ReplicationControllerList],
			Generation: true,
		},
	}
}

func eventRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "events.k8s.io", Kind: "Event", Plural: "events",
			Short: []string{"ev"},
			New:   newOf[v1.Event], NewList: newOf[v1.EventList],
			NoStatus: true, CreateOnUpdate: true,
			TTL: eventTTL, NoCache: true,
		},
	}
}

// eventTTL drops events an hour after they were last written.
func eventTTL(runtime.Object) uint64 { return 3600 }
