package clusterip

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/dualstack"
)

// The words that ipFamilies and ipFamilyPolicy know, in the order of the error message (A5.11).
var (
	knownFamilies = [...]corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	knownPolicies = [...]corev1.IPFamilyPolicy{
		corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack,
	}
)

// CheckClusterIPs checks what clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy say by
// themselves, without regard to the cluster (A4, A5.11, Vf of A3). Plan does so first, since
// allocation has to rely on it, and validation does so again at the end. Old is nil on create; its
// addresses are not checked for syntax again (0.9). ExternalName Services pass: they must have none
// of these fields (A5.10).
func CheckClusterIPs(svc, old *corev1.Service) field.ErrorList {
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
func checkCoupling(svc *corev1.Service) field.ErrorList {
	ips := svc.Spec.ClusterIPs
	switch {
	case svc.Spec.ClusterIP == "" && len(ips) > 0:
		return field.ErrorList{field.Invalid(specPath("clusterIPs"), ips, "must be empty when `clusterIP` is not specified")}
	case svc.Spec.ClusterIP != "" && len(ips) == 0:
		return field.ErrorList{field.Required(specPath("clusterIPs"), "")}
	case svc.Spec.ClusterIP != "" && ips[0] != svc.Spec.ClusterIP:
		return field.ErrorList{field.Invalid(specPath("clusterIPs"), ips, "first value must match `clusterIP`")}
	}
	return nil
}

// checkFamilyNames checks the words in ipFamilies and ipFamilyPolicy (A5.11).
func checkFamilyNames(svc *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	for i, family := range svc.Spec.IPFamilies {
		if !slices.Contains(knownFamilies[:], family) {
			errs = append(errs, field.NotSupported(specPath("ipFamilies").Index(i), family, knownFamilies[:]))
		}
		if slices.Contains(svc.Spec.IPFamilies[:i], family) {
			errs = append(errs, field.Duplicate(specPath("ipFamilies").Index(i), family))
		}
	}
	if policy := svc.Spec.IPFamilyPolicy; policy != nil && !slices.Contains(knownPolicies[:], *policy) {
		errs = append(errs, field.NotSupported(specPath("ipFamilyPolicy"), policy, knownPolicies[:]))
	}
	return errs
}

// checkSyntax checks each entry of clusterIPs and their number (A4.3, A4.4, 0.7, 0.9), and reports
// whether one of them cannot be understood.
func checkSyntax(svc, old *corev1.Service) (errs field.ErrorList, broken bool) {
	ips := svc.Spec.ClusterIPs
	var stored []string
	if old != nil {
		stored = old.Spec.ClusterIPs
	}
	for i, ip := range ips {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(ips) > 1 {
				errs = append(errs, field.Invalid(specPath("clusterIPs"), ips, "'None' must be the first and only value"))
				broken = true
			}
			continue
		}
		if _, ok := parseAddr(ip); ok {
			continue
		}
		wrong := validation.IsValidIPForLegacyField(specPath("clusterIPs").Index(i), ip, true, stored)
		errs, broken = append(errs, wrong...), broken || len(wrong) > 0
	}
	if len(ips) > 2 {
		errs = append(errs, field.Invalid(specPath("clusterIPs"), ips, "may only hold up to 2 values"))
	}
	return errs, broken
}

// checkFamilies wants addresses of different families (A4.4), in the order that ipFamilies says as
// far as it goes (Vf).
func checkFamilies(svc *corev1.Service) field.ErrorList {
	ips := svc.Spec.ClusterIPs
	if headless(svc) {
		return nil
	}
	var errs field.ErrorList
	if len(ips) > 1 && !mixed(ips) {
		errs = append(errs, field.Invalid(specPath("clusterIPs"), ips, "may specify no more than one IP for each IP family"))
	}
	for i, want := range svc.Spec.IPFamilies[:min(len(svc.Spec.IPFamilies), len(ips))] {
		if ipFamilyOf(ips[i]) != want && slices.Contains(knownFamilies[:], want) {
			errs = append(errs, field.Invalid(specPath("clusterIPs").Index(i), ips[i],
				fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", want, i)))
		}
	}
	return errs
}

// mixed reports whether both families are among ips.
func mixed(ips []string) bool {
	return slices.ContainsFunc(ips[1:], func(ip string) bool { return ipFamilyOf(ip) != ipFamilyOf(ips[0]) })
}

// ipFamilyOf returns the family of an address as it is written, "" if it is none.
func ipFamilyOf(ip string) corev1.IPFamily {
	addr, _ := parseAddr(ip)
	return corev1.IPFamily(dualstack.Of(addr))
}

// specPath names a field of spec. Paths are made only once there is an error to report.
func specPath(name string) *field.Path { return field.NewPath("spec", name) }
