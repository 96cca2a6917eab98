package kinds

import (
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateLease checks the figures of a Lease.
func ValidateLease(l, _ *coordinationv1.Lease) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &l.Spec
	if s.LeaseDurationSeconds != nil && *s.LeaseDurationSeconds <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *s.LeaseDurationSeconds, "must be greater than 0"))
	}
	return append(errs, optional(s.LeaseTransitions, path.Child("leaseTransitions"))...)
}

// ValidateRuntimeClass keeps the handler of a class.
func ValidateRuntimeClass(c, old *nodev1.RuntimeClass) field.ErrorList {
	errs := dnsLabel(c.Handler, field.NewPath("handler"))
	if old != nil {
		errs = append(errs, immutable(c.Handler, old.Handler, field.NewPath("handler"))...)
	}
	return errs
}

// ValidatePodDisruptionBudget allows one bound, as a number or a percentage.
func ValidatePodDisruptionBudget(p, _ *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &p.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, s, "minAvailable and maxUnavailable cannot be both set"))
	}
	errs = append(errs, share(s.MinAvailable, path.Child("minAvailable"), true)...)
	errs = append(errs, share(s.MaxUnavailable, path.Child("maxUnavailable"), true)...)
	errs = append(errs, labelSelector(s.Selector, path.Child("selector"))...)
	if s.UnhealthyPodEvictionPolicy != nil {
		errs = append(errs, oneOf(*s.UnhealthyPodEvictionPolicy, path.Child("unhealthyPodEvictionPolicy"),
			policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

// Priorities of users end where those of the system begin.
const maxUserPriority = 1_000_000_000

// SystemPriorities are the classes that every cluster has, whose names begin with "system-".
func SystemPriorities() []*schedulingv1.PriorityClass {
	policy := corev1.PreemptLowerPriority
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description, PreemptionPolicy: &policy}
	}
	return []*schedulingv1.PriorityClass{
		class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
		class("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// unlikeSystem says what is wrong with a class whose name begins with "system-"; "" is nothing.
func unlikeSystem(c *schedulingv1.PriorityClass) string {
	for _, s := range SystemPriorities() {
		switch {
		case s.Name != c.Name:
		case s.Value != c.Value:
			return fmt.Sprintf("value of %v PriorityClass must be %v", s.Name, s.Value)
		case s.GlobalDefault != c.GlobalDefault:
			return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", s.Name, s.GlobalDefault)
		default:
			return ""
		}
	}
	return fmt.Sprintf("%v is not a known system priority class", c.Name)
}

// ValidatePriorityClass keeps names and values of the system apart from those of users. Value and
// policy never change.
func ValidatePriorityClass(c, old *schedulingv1.PriorityClass) (errs field.ErrorList) {
	if strings.HasPrefix(c.Name, "system-") {
		if problem := unlikeSystem(c); problem != "" {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with 'system-' prefix are reserved for system use only. error: "+problem))
		}
	} else if c.Value > maxUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"),
			"maximum allowed value of a user defined priority is 1000000000"))
	}
	if c.PreemptionPolicy != nil {
		errs = append(errs, required(*c.PreemptionPolicy, field.NewPath("preemptionPolicy"),
			corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	if old != nil {
		const text = "may not be changed in an update."
		errs = append(errs, forbidChange(c.Value, old.Value, field.NewPath("value"), text)...)
		errs = append(errs, immutable(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	}
	return errs
}
