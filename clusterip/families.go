package clusterip

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/dualstack"
)

// planFamilies settles ipFamilyPolicy and ipFamilies: tables A3.T1 and A3.T2 on create, A6.3 on
// update. Faults are looked for in three rounds, each reported as a whole and hiding the next.
func (s *Space) planFamilies(svc, old *corev1.Service) error {
	if !mayHaveAddresses(svc) || frozen(svc, old) {
		return nil
	}
	settlePolicy(svc, old)

	// Round 1: what the fields say by themselves.
	if errs := CheckClusterIPs(svc, old); len(errs) > 0 {
		return invalid(svc, append(checkSwap(svc, old), errs...)...)
	}
	// Round 2: policy against the lengths of the lists, and families that only an address names.
	errs := release(svc, old)
	errs = append(errs, checkSingleStack(svc)...)
	errs = append(errs, s.inferFamilies(svc)...)
	if len(errs) > 0 {
		return invalid(svc, errs...)
	}
	if headless(svc) && selectorless(svc) {
		// Somebody else writes the endpoints: any family is possible on any cluster (A3.6).
		s.completeFamilies(svc, true)
		return nil
	}
	// Round 3: all that against the cluster.
	if errs := s.checkConfigured(svc); len(errs) > 0 {
		return invalid(svc, errs...)
	}
	s.completeFamilies(svc, s.dualStack())
	return nil
}

// frozen reports whether an update leaves the addresses of a PreferDualStack Service alone, so that
// it does not change with the cluster around it (A6.3b).
func frozen(svc, old *corev1.Service) bool {
	return old != nil &&
		old.Spec.Type == svc.Spec.Type &&
		policyOf(svc) == corev1.IPFamilyPolicyPreferDualStack &&
		(old.Spec.IPFamilyPolicy == nil || policyOf(old) == corev1.IPFamilyPolicyPreferDualStack) &&
		slices.Equal(old.Spec.ClusterIPs, svc.Spec.ClusterIPs) &&
		slices.Equal(old.Spec.IPFamilies, svc.Spec.IPFamilies)
}

// settlePolicy sets a missing policy: that of the old object (A6.2), else SingleStack, else, for a
// headless Service without selector, RequireDualStack (A3.1).
func settlePolicy(svc, old *corev1.Service) {
	if svc.Spec.IPFamilyPolicy != nil {
		return
	}
	policy := corev1.IPFamilyPolicySingleStack
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		policy = *old.Spec.IPFamilyPolicy
	case headless(svc) && selectorless(svc):
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	svc.Spec.IPFamilyPolicy = &policy
}

// checkSwap names the cause when an update exchanges the families of both addresses (A6.6): that
// the addresses do not fit them is only what follows.
func checkSwap(svc, old *corev1.Service) field.ErrorList {
	if old == nil || headless(old) || headless(svc) {
		return nil
	}
	families, before := svc.Spec.IPFamilies, old.Spec.IPFamilies
	if len(families) < 2 || len(before) < 2 || families[0] == before[0] {
		return nil
	}
	return field.ErrorList{field.Invalid(specPath("ipFamilies").Index(0), families, "may not change once set")}
}

// release drops the secondary address and family when an update says SingleStack and left the lists
// alone. Under any other policy a shorter list is an error, E6 or E7 (A6.3).
func release(svc, old *corev1.Service) field.ErrorList {
	if old == nil {
		return nil
	}
	spec, before := &svc.Spec, &old.Spec
	if policyOf(svc) == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, before.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, before.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
		return nil
	}
	var errs field.ErrorList
	if n := len(spec.ClusterIPs); 0 < n && n < len(before.ClusterIPs) {
		errs = append(errs, wrongPolicy(svc, "must be 'SingleStack' to release the secondary cluster IP")) // E6
	}
	if n := len(spec.IPFamilies); 0 < n && n < len(before.IPFamilies) {
		errs = append(errs, wrongPolicy(svc, "must be 'SingleStack' to release the secondary IP family")) // E7
	}
	return errs
}

// checkSingleStack refuses two of anything under SingleStack, E1 and E2 (A3.2).
func checkSingleStack(svc *corev1.Service) field.ErrorList {
	if policyOf(svc) != corev1.IPFamilyPolicySingleStack {
		return nil
	}
	const must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple "
	var errs field.ErrorList
	if len(svc.Spec.ClusterIPs) > 1 {
		errs = append(errs, wrongPolicy(svc, must+"cluster IPs are specified")) // E1
	}
	if len(svc.Spec.IPFamilies) > 1 {
		errs = append(errs, wrongPolicy(svc, must+"IP families are specified")) // E2
	}
	return errs
}

// inferFamilies appends the families of those addresses that have none beside them (A3.3), or says
// that the cluster lacks them, E3.
func (s *Space) inferFamilies(svc *corev1.Service) field.ErrorList {
	if headless(svc) {
		return nil
	}
	var errs field.ErrorList
	for i := len(svc.Spec.IPFamilies); i < len(svc.Spec.ClusterIPs); i++ {
		family := ipFamilyOf(svc.Spec.ClusterIPs[i])
		if !s.configured(familyOf(family)) {
			errs = append(errs, field.Invalid(specPath("clusterIPs").Index(i), svc.Spec.ClusterIPs,
				fmt.Sprintf("%s is not configured on this cluster", family))) // E3
			continue
		}
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, family)
	}
	return errs
}

// checkConfigured compares policy and families with those of the cluster, E4 and E5.
func (s *Space) checkConfigured(svc *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if policyOf(svc) == corev1.IPFamilyPolicyRequireDualStack && !s.dualStack() {
		errs = append(errs, wrongPolicy(svc, "this cluster is not configured for dual-stack services")) // E4
	}
	for i, family := range svc.Spec.IPFamilies {
		if !s.configured(familyOf(family)) {
			errs = append(errs, field.Invalid(specPath("ipFamilies").Index(i), family,
				"not configured on this cluster")) // E5
		}
	}
	return errs
}

// completeFamilies starts from the default family and adds the other one if the policy asks for it
// and it is to be had (A3.4).
func (s *Space) completeFamilies(svc *corev1.Service, dual bool) {
	spec := &svc.Spec
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = append(make([]corev1.IPFamily, 0, 2), corev1.IPFamily(s.families[0]))
	}
	if dual && len(spec.IPFamilies) == 1 && policyOf(svc) != corev1.IPFamilyPolicySingleStack {
		other := familyOf(spec.IPFamilies[0]).Other()
		spec.IPFamilies = append(spec.IPFamilies, corev1.IPFamily(other))
	}
}

func (s *Space) configured(f dualstack.Family) bool { return slices.Contains(s.families, f) }

func (s *Space) dualStack() bool { return len(s.families) > 1 }

// policyOf returns the policy of svc, or "" if it has none.
func policyOf(svc *corev1.Service) corev1.IPFamilyPolicy {
	if svc.Spec.IPFamilyPolicy == nil {
		return ""
	}
	return *svc.Spec.IPFamilyPolicy
}

func wrongPolicy(svc *corev1.Service, detail string) *field.Error {
	return field.Invalid(specPath("ipFamilyPolicy"), svc.Spec.IPFamilyPolicy, detail)
}
