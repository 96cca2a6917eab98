package service

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

var (
	loadBalancerClassPath   = specPath.Child("loadBalancerClass")
	healthCheckNodePortPath = specPath.Child("healthCheckNodePort")
)

const (
	immutable  = "field is immutable"
	setForGood = "may not change once set"
)

// validateUpdate reports what may not change (A6.6, A5.14, A5.16).
func validateUpdate(svc, old *corev1.Service) field.ErrorList {
	errs := validateClusterIPsChange(svc, old)
	errs = append(errs, validateFamiliesChange(svc, old)...)
	if loadBalancer(svc) && loadBalancer(old) && !ptr.Equal(svc.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(loadBalancerClassPath, svc.Spec.LoadBalancerClass, setForGood))
	}
	errs = append(errs, validateLoadBalancerClass(svc)...)
	if needsHealthCheck(svc) && needsHealthCheck(old) && svc.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(healthCheckNodePortPath, immutable))
	}
	return errs
}

// validateClusterIPsChange: a second address may come and, to become SingleStack, go; nothing else
// changes, but to or from ExternalName (A6.6). "None" counts as an address (A6.5).
func validateClusterIPsChange(svc, old *corev1.Service) field.ErrorList {
	if externalName(svc) || externalName(old) || headless(svc) && headless(old) {
		return nil
	}
	ips, before := svc.Spec.ClusterIPs, old.Spec.ClusterIPs
	var errs field.ErrorList
	if len(ips) == 0 && len(before) > 0 {
		errs = append(errs, field.Invalid(clusterIPsPath.Index(0), ips, "primary clusterIP can not be unset"))
	}
	compared := min(len(ips), len(before))
	if len(ips) != len(before) { // the second one comes or goes
		compared = min(compared, 1)
	}
	for i := range compared {
		if ips[i] != before[i] {
			errs = append(errs, field.Invalid(clusterIPsPath.Index(i), ips, setForGood))
		}
	}
	if len(ips) == 1 && len(before) > 1 {
		errs = append(errs, requireSingleStack(svc, "must be set to 'SingleStack' when releasing the secondary clusterIP")...)
	}
	return errs
}

// validateFamiliesChange is the same for families, which a headless Service may change freely and
// which a change to or from headless sets anew (A6.6, A6.3d).
func validateFamiliesChange(svc, old *corev1.Service) field.ErrorList {
	if externalName(svc) || externalName(old) || headless(svc) || headless(old) {
		return nil
	}
	path, families, before := ipFamiliesPath.Index(0), svc.Spec.IPFamilies, old.Spec.IPFamilies
	var errs field.ErrorList
	if len(families) == 0 && len(before) > 0 {
		errs = append(errs, field.Invalid(path, families, "primary ipFamily can not be unset"))
	}
	compared := min(len(families), len(before))
	if len(families) != len(before) {
		compared = min(compared, 1)
	}
	if !slices.Equal(families[:compared], before[:compared]) {
		errs = append(errs, field.Invalid(path, families, setForGood)) // whichever differs, at [0]
	}
	if len(families) == 1 && len(before) > 1 {
		errs = append(errs, requireSingleStack(svc, "must be set to 'SingleStack' when releasing the secondary ipFamily")...)
	}
	return errs
}

// requireSingleStack refuses, with detail, any other policy.
func requireSingleStack(svc *corev1.Service, detail string) field.ErrorList {
	if ptr.Deref(svc.Spec.IPFamilyPolicy, "") == corev1.IPFamilyPolicySingleStack {
		return nil
	}
	return field.ErrorList{field.Invalid(ipFamilyPolicyPath, svc.Spec.IPFamilyPolicy, detail)}
}
