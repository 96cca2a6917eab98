package clusterip

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The words that ipFamilies and ipFamilyPolicy know, in the order of the error message (A5.11).
var (
	knownFamilies = [...]v1.IPFamily{v1.IPv4Protocol, v1.IPv6Protocol}
	knownPolicies = [...]v1.IPFamilyPolicy{
		v1.IPFamilyPolicyPreferDualStack, v1.IPFamilyPolicyRequireDualStack, v1.IPFamilyPolicySingleStack,
	}
)

// CheckClusterIPs checks what clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy say by
// themselves, without regard to the cluster (A4, A5.11, Vf of A3). Plan does so first, since
// allocation has to rely on it, and validation does so again at the end. Old is nil on create; its
// addresses are not checked for syntax again (0.9). ExternalName Services pass: they must have none
// of these fields (A5.10).
func CheckClusterIPs(svc, old *v1.Service) field.ErrorList {
	if !mayHaveAddresses(svc) {
		return nil
	}
	errs := checkCoupling(svc)
	errs = append(errs, checkFamilyNames(svc)...)
	syntax, broken := checkSyntax(svc, old)
	errs = append(errs, syntax...)
	if broken {
		return errs // more would only be noise (A4.6)
	}
	return append(errs, checkFamilies(svc)...)
}

// checkCoupling holds clusterIP against clusterIPs (A4.1, A4.2).
func checkCoupling(svc *v1.Service) field.ErrorList {
	path, ips := field.NewPath("spec", "clusterIPs"), svc.Spec.ClusterIPs
	switch {
	case svc.Spec.ClusterIP == "" && len(ips) > 0:
		return field.ErrorList{field.Invalid(path, ips, "must be empty when `clusterIP` is not specified")}
	case svc.Spec.ClusterIP != "" && len(ips) == 0:
		return field.ErrorList{field.Required(path, "")}
	case svc.Spec.ClusterIP != "" && ips[0] != svc.Spec.ClusterIP:
		return field.ErrorList{field.Invalid(path, ips, "first value must match `clusterIP`")}
	}
	return nil
}

// checkFamilyNames checks the words in ipFamilies and ipFamilyPolicy (A5.11).
func checkFamilyNames(svc *v1.Service) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "ipFamilies")
	for i, family := range svc.Spec.IPFamilies {
		if !slices.Contains(knownFamilies[:], family) {
			errs = append(errs, field.NotSupported(path.Index(i), family, knownFamilies[:]))
		}
		if slices.Contains(svc.Spec.IPFamilies[:i], family) {
			errs = append(errs, field.Duplicate(path.Index(i), family))
		}
	}
	if policy := svc.Spec.IPFamilyPolicy; policy != nil && !slices.Contains(knownPolicies[:], *policy) {
		errs = append(errs, field.NotSupported(field.NewPath("spec", "ipFamilyPolicy"), policy, knownPolicies[:]))
	}
	return errs
}

// checkSyntax checks each entry of clusterIPs and their number (A4.3, A4.4, 0.7, 0.9), and reports
// whether one of them cannot be understood.
func checkSyntax(svc, old *v1.Service) (errs field.ErrorList, broken bool) {
	path, ips := field.NewPath("spec", "clusterIPs"), svc.Spec.ClusterIPs
	var stored []string
	if old != nil {
		stored = old.Spec.ClusterIPs
	}
	for i, ip := range ips {
		if i == 0 && ip == v1.ClusterIPNone {
			if len(ips) > 1 {
				errs = append(errs, field.Invalid(path, ips, "'None' must be the first and only value"))
				broken = true
			}
			continue
		}
		wrong := validation.IsValidIPForLegacyField(path.Index(i), ip, true, stored)
		errs, broken = append(errs, wrong...), broken || len(wrong) > 0
	}
	if len(ips) > 2 {
		errs = append(errs, field.Invalid(path, ips, "may only hold up to 2 values"))
	}
	return errs, broken
}

// checkFamilies wants addresses of different families (A4.4), in the order that ipFamilies says as
// far as it goes (Vf).
func checkFamilies(svc *v1.Service) field.ErrorList {
	path, ips := field.NewPath("spec", "clusterIPs"), svc.Spec.ClusterIPs
	if headless(svc) || len(ips) == 0 {
		return nil
	}
	var errs field.ErrorList
	families := familiesOf(ips)
	if len(ips) > 1 && !(slices.Contains(families, v1.IPv4Protocol) && slices.Contains(families, v1.IPv6Protocol)) {
		errs = append(errs, field.Invalid(path, ips, "may specify no more than one IP for each IP family"))
	}
	for i, want := range svc.Spec.IPFamilies[:min(len(svc.Spec.IPFamilies), len(families))] {
		if families[i] != want && slices.Contains(knownFamilies[:], want) {
			errs = append(errs, field.Invalid(path.Index(i), ips[i],
				fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", want, i)))
		}
	}
	return errs
}
