package kubernetesservice

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultServiceCIDR is the name of the ServiceCIDR made from the server's flags.
	DefaultServiceCIDR = "kubernetes"
	// FieldManager owns its Ready condition until the service-cidr-controller takes over (B4.4).
	FieldManager = "kubernetes-service-cidr-controller"

	messageReady       = "Kubernetes default Service CIDR is ready"
	reasonInconsistent = "KubernetesDefaultServiceCIDRInconsistent"
	reasonError        = "KubernetesDefaultServiceCIDRError"
)

// action is what to do with the default ServiceCIDR.
type action int

const (
	leave action = iota
	create
	upgrade   // from one range to two
	markReady // it has no condition yet
)

// warning is an event on the default ServiceCIDR. The zero value is none.
type warning struct{ reason, text string }

// decide compares the ranges of the flags with what is stored, nil if nothing is. It never
// shrinks and never replaces (B4.2).
func decide(flags []string, stored *networkingv1.ServiceCIDR) (action, warning) {
	switch {
	case stored == nil:
		return create, warning{}
	case stored.DeletionTimestamp != nil:
		return leave, warning{} // made anew when it is gone (B4.6)
	case len(flags) == 2 && len(stored.Spec.CIDRs) == 1 && stored.Spec.CIDRs[0] == flags[0]:
		return upgrade, warning{}
	case !slices.Equal(stored.Spec.CIDRs, flags):
		return leave, warning{reasonInconsistent, fmt.Sprintf(
			"The default ServiceCIDR %v does not match the controller flag configurations %v", stored.Spec.CIDRs, flags)}
	}
	condition := meta.FindStatusCondition(stored.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	switch {
	case condition == nil || condition.Status == metav1.ConditionUnknown:
		return markReady, warning{}
	case condition.Status == metav1.ConditionFalse:
		return leave, warning{condition.Reason, "Configuration matches, but " + condition.Message}
	default:
		return leave, warning{}
	}
}

// upgradeFailed is the event for an upgrade that the API refused (B4.3).
func upgradeFailed(from string, to []string, err error) warning {
	return warning{reasonError, fmt.Sprintf("The default ServiceCIDR can not be upgraded from %s to dual stack %v : %v", from, to, err)}
}
