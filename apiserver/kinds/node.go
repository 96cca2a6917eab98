package kinds

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateNode checks the Pod ranges, one per family at most, which never change once set (D1.6),
// that no address is listed twice (D2.5), taints and resources.
func ValidateNode(n, old *corev1.Node) (errs field.ErrorList) {
	path := field.NewPath("spec", "podCIDRs")
	families := map[bool]int{}
	for i, cidr := range n.Spec.PodCIDRs {
		bad := utilvalidation.IsValidCIDRForLegacyField(path.Index(i), cidr, true, nil)
		if p, err := netip.ParsePrefix(cidr); len(bad) == 0 && err == nil {
			families[p.Addr().Is4()]++
		}
		errs = append(errs, bad...)
	}
	if families[true] > 1 || families[false] > 1 {
		errs = append(errs, field.Invalid(path, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family"))
	}
	if old != nil && len(old.Spec.PodCIDRs) > 0 {
		errs = append(errs, forbidChange(n.Spec.PodCIDRs, old.Spec.PodCIDRs, path,
			`node updates may not change podCIDR except from "" to valid`)...)
	}
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(field.NewPath("status", "addresses").Index(i), a))
		}
		seen[a] = true
	}
	if old != nil {
		errs = append(errs, nodeUpdate(&n.Spec, &old.Spec)...)
	}
	errs = append(errs, nodeAmounts(n.Status.Capacity, field.NewPath("status", "capacity"))...)
	errs = append(errs, nodeAmounts(n.Status.Allocatable, field.NewPath("status", "allocatable"))...)
	return append(errs, taints(n.Spec.Taints, field.NewPath("spec", "taints"))...)
}

// nodeUpdate reports changes of what identifies a machine.
func nodeUpdate(s, old *corev1.NodeSpec) (errs field.ErrorList) {
	path := field.NewPath("spec")
	if old.ProviderID != "" && s.ProviderID != old.ProviderID {
		errs = append(errs, field.Forbidden(path.Child("providerID"), `node updates may not change providerID except from "" to valid`))
	}
	if s.DoNotUseExternalID != old.DoNotUseExternalID || !equality.Semantic.DeepEqual(s.ConfigSource, old.ConfigSource) { //nolint:staticcheck // deprecated, and still part of the rule
		errs = append(errs, field.Forbidden(path, "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)"))
	}
	return errs
}

// nodeAmounts: a node's resources are counted, never negative.
func nodeAmounts(list corev1.ResourceList, path *field.Path) (errs field.ErrorList) {
	for _, key := range sorted(stringKeys(list)) {
		errs = append(errs, faults(path.Key(key), key, content.IsLabelKey(key))...)
		errs = append(errs, amount(key, list[corev1.ResourceName(key)], path.Key(key))...)
	}
	return errs
}

func taints(list []corev1.Taint, path *field.Path) (errs field.ErrorList) {
	seen := map[corev1.Taint]bool{}
	for i, t := range list {
		at := path.Index(i)
		errs = append(errs, faults(at.Child("key"), t.Key, content.IsLabelKey(t.Key))...)
		errs = append(errs, faults(at.Child("value"), t.Value, content.IsLabelValue(t.Value))...)
		errs = append(errs, required(t.Effect, at.Child("effect"),
			corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		id := corev1.Taint{Key: t.Key, Effect: t.Effect}
		if seen[id] {
			duplicate := field.Duplicate(at, t)
			duplicate.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, duplicate)
		}
		seen[id] = true
	}
	return errs
}
