package servicecidr

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applynetworkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
)

// Names and texts that users see.
const (
	// FieldManager owns the Ready condition (B5.1).
	FieldManager = "service-cidr-controller"
	// ReasonOrphan is the reason of Ready=False; upstream says Terminating (B5.2).
	ReasonOrphan = "OrphanIPAddress"

	messageReady   = "Kubernetes Service CIDR is ready"
	messageBlocked = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"

	eventReason  = "KubernetesServiceCIDRError"
	eventMessage = "The ServiceCIDR Status can not be set to Ready=True"
)

func ready() metav1.Condition {
	return metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: messageReady}
}

func blocked() metav1.Condition {
	return metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse,
		Reason: ReasonOrphan, Message: messageBlocked,
	}
}

// transition returns want with the time since when its status holds, and whether it must be
// written at all: only a change of status, reason or message is (B5.1).
func transition(cidr *networkingv1.ServiceCIDR, want metav1.Condition, now metav1.Time) (metav1.Condition, bool) {
	want.LastTransitionTime = now
	old := meta.FindStatusCondition(cidr.Status.Conditions, want.Type)
	if old == nil {
		return want, true
	}
	if old.Status == want.Status {
		want.LastTransitionTime = old.LastTransitionTime
	}
	return want, old.Status != want.Status || old.Reason != want.Reason || old.Message != want.Message
}

// applying is the server-side apply request for a condition. An empty reason is left out.
func applying(name string, c metav1.Condition) *applynetworkingv1.ServiceCIDRApplyConfiguration {
	condition := applymetav1.Condition().WithType(c.Type).WithStatus(c.Status).
		WithMessage(c.Message).WithLastTransitionTime(c.LastTransitionTime)
	if c.Reason != "" {
		condition = condition.WithReason(c.Reason)
	}
	return applynetworkingv1.ServiceCIDR(name).
		WithStatus(applynetworkingv1.ServiceCIDRStatus().WithConditions(condition))
}
