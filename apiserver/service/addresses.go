package service

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	clusterIPsPath     = specPath.Child("clusterIPs")
	ipFamiliesPath     = specPath.Child("ipFamilies")
	ipFamilyPolicyPath = specPath.Child("ipFamilyPolicy")

	ipFamilies       = sets.New(corev1.IPv4Protocol, corev1.IPv6Protocol)
	ipFamilyPolicies = sets.New(corev1.IPFamilyPolicySingleStack,
		corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)
)

// validateClusterIPs checks how clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy fit together
// (A4.1-A4.4, A5.11). Once an address cannot be read, the checks across addresses are left out:
// they would only repeat that in other words (A4.6).
func validateClusterIPs(svc, old *corev1.Service) field.ErrorList {
	if externalName(svc) { // A5.10 has forbidden all of it
		return nil
	}
	errs := validateCoupling(svc)
	errs = append(errs, validateFamilies(svc)...)
	faults := validateEachClusterIP(svc, old)
	errs = append(errs, faults...)
	ips := svc.Spec.ClusterIPs
	if len(ips) > 2 {
		errs = append(errs, field.Invalid(clusterIPsPath, ips, "may only hold up to 2 values"))
	}
	if len(faults) > 0 {
		return errs
	}
	if seen := sets.New[corev1.IPFamily](); len(ips) > 1 {
		for _, ip := range ips {
			seen.Insert(family(ip))
		}
		if len(seen) != 2 {
			errs = append(errs, field.Invalid(clusterIPsPath, ips, "may specify no more than one IP for each IP family"))
		}
	}
	return append(errs, validateFamilyOfEach(svc)...)
}

// validateCoupling: clusterIP is clusterIPs[0], and neither is without the other (A4.1, A4.2).
func validateCoupling(svc *corev1.Service) field.ErrorList {
	ip, ips := svc.Spec.ClusterIP, svc.Spec.ClusterIPs
	switch {
	case ip == "" && len(ips) > 0:
		return field.ErrorList{field.Invalid(clusterIPsPath, ips, "must be empty when `clusterIP` is not specified")}
	case ip != "" && len(ips) == 0:
		return field.ErrorList{field.Required(clusterIPsPath, "")}
	case ip != "" && ips[0] != ip:
		return field.ErrorList{field.Invalid(clusterIPsPath, ips, "first value must match `clusterIP`")}
	}
	return nil
}

// validateFamilies: known families, each once, and a known policy (A5.11).
func validateFamilies(svc *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.IPFamily]()
	for i, family := range svc.Spec.IPFamilies {
		if !ipFamilies.Has(family) {
			errs = append(errs, field.NotSupported(ipFamiliesPath.Index(i), family, sets.List(ipFamilies)))
		}
		if seen.Has(family) {
			errs = append(errs, field.Duplicate(ipFamiliesPath.Index(i), family))
		}
		seen.Insert(family)
	}
	if policy := svc.Spec.IPFamilyPolicy; policy != nil && !ipFamilyPolicies.Has(*policy) {
		errs = append(errs, field.NotSupported(ipFamilyPolicyPath, *policy, sets.List(ipFamilyPolicies)))
	}
	return errs
}

// validateEachClusterIP reads every address by itself; "None" may only be alone (A4.3). What the
// old object has is good whatever it looks like (0.9).
func validateEachClusterIP(svc, old *corev1.Service) field.ErrorList {
	var known []string
	if old != nil {
		known = old.Spec.ClusterIPs
	}
	var errs field.ErrorList
	for i, ip := range svc.Spec.ClusterIPs {
		if i > 0 || ip != corev1.ClusterIPNone {
			errs = append(errs, validation.IsValidIPForLegacyField(clusterIPsPath.Index(i), ip, true, known)...)
		} else if len(svc.Spec.ClusterIPs) > 1 {
			errs = append(errs, field.Invalid(clusterIPsPath, svc.Spec.ClusterIPs, "'None' must be the first and only value"))
		}
	}
	return errs
}

// validateFamilyOfEach: clusterIPs[i] is of ipFamilies[i], as far as both are given (Vf of A3).
func validateFamilyOfEach(svc *corev1.Service) field.ErrorList {
	if headless(svc) {
		return nil
	}
	var errs field.ErrorList
	for i, ip := range svc.Spec.ClusterIPs {
		if i == len(svc.Spec.IPFamilies) {
			break
		}
		if want := svc.Spec.IPFamilies[i]; ipFamilies.Has(want) && family(ip) != want {
			errs = append(errs, field.Invalid(clusterIPsPath.Index(i), ip,
				fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", want, i)))
		}
	}
	return errs
}

// validateExternalIPs: addresses of either family that can be somebody's (A5.8). What the old
// object has may be spelt in any way (0.9), but may not be special either.
func validateExternalIPs(svc, old *corev1.Service) field.ErrorList {
	var known []string
	if old != nil {
		known = old.Spec.ExternalIPs
	}
	var errs field.ErrorList
	for i, ip := range svc.Spec.ExternalIPs {
		path := specPath.Child("externalIPs").Index(i)
		faults := validation.IsValidIPForLegacyField(path, ip, true, known)
		if len(faults) == 0 {
			faults = validateNotSpecial(ip, path)
		}
		errs = append(errs, faults...)
	}
	return errs
}

// validateNotSpecial refuses addresses that name no single other host (A5.8).
func validateNotSpecial(ip string, path *field.Path) field.ErrorList {
	addr, _ := parseIP(ip)
	var errs field.ErrorList
	for _, special := range []struct {
		is     bool
		detail string
	}{
		{addr.IsUnspecified(), fmt.Sprintf("may not be unspecified (%s)", ip)},
		{addr.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{addr.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{addr.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if special.is {
			errs = append(errs, field.Invalid(path, ip, special.detail))
		}
	}
	return errs
}

// validateSourceRanges checks the field, whose error path has a capital L since for ever, or else
// the annotation that preceded it (A5.12). Entries may have spaces around them.
func validateSourceRanges(svc, old *corev1.Service) field.ErrorList {
	if len(svc.Spec.LoadBalancerSourceRanges) == 0 {
		return validateSourceRangesAnnotation(svc, old)
	}
	var known []string
	if old != nil {
		known = trimmed(old.Spec.LoadBalancerSourceRanges)
	}
	path := specPath.Child("LoadBalancerSourceRanges")
	errs := requireLoadBalancer(svc, path)
	for i, cidr := range trimmed(svc.Spec.LoadBalancerSourceRanges) {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), cidr, true, known)...)
	}
	return errs
}

// validateSourceRangesAnnotation tolerates an old value as a whole (A5.12, 0.9).
func validateSourceRangesAnnotation(svc, old *corev1.Service) field.ErrorList {
	const annotation = corev1.AnnotationLoadBalancerSourceRangesKey
	value, set := svc.Annotations[annotation]
	if !set {
		return nil
	}
	path := metadataPath.Child("annotations").Key(annotation)
	errs := requireLoadBalancer(svc, path)
	if old != nil && old.Annotations[annotation] == value || strings.TrimSpace(value) == "" {
		return errs
	}
	for _, cidr := range trimmed(strings.Split(value, ",")) {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path, cidr, true, nil)...)
	}
	return errs
}

// requireLoadBalancer refuses what only a load balancer can have.
func requireLoadBalancer(svc *corev1.Service, path *field.Path) field.ErrorList {
	if loadBalancer(svc) {
		return nil
	}
	return field.ErrorList{field.Forbidden(path, onlyLoadBalancer)}
}

// trimmed is list without the spaces around each entry.
func trimmed(list []string) []string {
	out := make([]string, len(list))
	for i, entry := range list {
		out[i] = strings.TrimSpace(entry)
	}
	return out
}
