package apiserver

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/duetk8s/duet/apiserver/columns"
	"github.com/duetk8s/duet/apiserver/defaults"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/resource"
)

func discoveryRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "discovery.k8s.io", Kind: "EndpointSlice", Plural: "endpointslices",
			New: newOf[discoveryv1.EndpointSlice], NewList: newOf[discoveryv1.EndpointSliceList],
			Generation: true, NoStatus: true,
			Default:  defaulting(defaults.EndpointSlice),
			Validate: validating(kinds.ValidateEndpointSlice),
			Warnings: warning(kinds.EndpointSliceWarnings),
			Columns:  columns.EndpointSlice(),
		},
	}
}

func networkingRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "networking.k8s.io", Kind: "Ingress", Plural: "ingresses",
			Short: []string{"ing"},
			New:   newOf[networkingv1.Ingress], NewList: newOf[networkingv1.IngressList],
			Generation: true,
			Validate:   validating(kinds.ValidateIngress),
			Columns:    columns.Ingress(),
		},
		{
			Group: "networking.k8s.io", Kind: "IngressClass", Plural: "ingressclasses",
			ClusterScoped: true,
			New:           newOf[networkingv1.IngressClass], NewList: newOf[networkingv1.IngressClassList],
			Generation: true, NoStatus: true,
			Default:  defaulting(defaults.IngressClass),
			Validate: validating(kinds.ValidateIngressClass),
			Columns:  columns.IngressClass(),
		},
		{
			Group: "networking.k8s.io", Kind: "NetworkPolicy", Plural: "networkpolicies",
			Short: []string{"netpol"},
			New:   newOf[networkingv1.NetworkPolicy], NewList: newOf[networkingv1.NetworkPolicyList],
			Generation: true, NoStatus: true,
			Default:  defaulting(defaults.NetworkPolicy),
			Validate: validating(kinds.ValidateNetworkPolicy),
			Columns:  columns.NetworkPolicy(),
		},
	}
}
