// Package servicecidr says what a valid ServiceCIDR is and how one is shown. Rule ids are those of
// the behaviour specification, section B.
//
// It does not allocate and does not decide what protects a ServiceCIDR from deletion. Functions
// fit the fields of resource.Resource; all are pure and without state. Only package apiserver imports this one.
//
//	resource.Resource{
//		Group: "networking.k8s.io", Kind: "ServiceCIDR", Plural: "servicecidrs", ClusterScoped: true,
//		Versions: []string{"v1", "v1beta1", "v1alpha1"},
//		Name: servicecidr.Name, Prepare: servicecidr.Prepare, Validate: servicecidr.Validate, Columns: servicecidr.Columns(usage),
//	}
package servicecidr

import (
	"context"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/clusterip"
)

const immutable = "field is immutable"

var cidrsPath = field.NewPath("spec", "cidrs")

// Name checks metadata.name: a DNS subdomain, which may be generated (B2.1).
func Name(name string, prefix bool) []string {
	return apivalidation.NameIsDNSSubdomain(name, prefix)
}

// Prepare gives a ServiceCIDR its finalizer, and keeps it until it is deleted. Upstream leaves that to
// the controller (B5.1): one deleted before the controller has seen it goes at once, and Services
// that have got addresses from it keep them in no range at all.
func Prepare(_ context.Context, obj, _ runtime.Object) {
	cidr := obj.(*networkingv1.ServiceCIDR)
	if cidr.DeletionTimestamp == nil && !slices.Contains(cidr.Finalizers, clusterip.ServiceCIDRFinalizer) {
		cidr.Finalizers = append(cidr.Finalizers, clusterip.ServiceCIDRFinalizer)
	}
}

// Validate reports the faults of a new ServiceCIDR (old is nil, B2.2-B2.6), and of an update any
// change but the second range of the other family (B2.7).
func Validate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	cidrs := obj.(*networkingv1.ServiceCIDR).Spec.CIDRs
	if old == nil {
		return validate(cidrs)
	}
	before := old.(*networkingv1.ServiceCIDR).Spec.CIDRs
	switch {
	case len(cidrs) == len(before):
		return validateSame(cidrs, before)
	case len(cidrs) == 2 && len(before) == 1:
		return append(validateSame(cidrs, before), validate(cidrs)...)
	default:
		return field.ErrorList{field.Invalid(cidrsPath, cidrs, immutable)}
	}
}

// validateSame refuses a change of any of the entries that were there before (B2.7).
func validateSame(cidrs, before []string) field.ErrorList {
	var errs field.ErrorList
	for i := range before {
		if cidrs[i] != before[i] {
			errs = append(errs, field.Invalid(cidrsPath.Index(i), cidrs[i], immutable))
		}
	}
	return errs
}

// validate: one or two ranges (B2.2, B2.3) in canonical spelling (B2.4), of different families
// (B2.5), of any length (B2.6).
func validate(cidrs []string) field.ErrorList {
	switch {
	case len(cidrs) == 0:
		return field.ErrorList{field.Required(cidrsPath, "at least one CIDR required")}
	case len(cidrs) > 2:
		// The whole spec, like upstream's internal type without JSON names (0.2).
		return field.ErrorList{field.Invalid(cidrsPath, struct{ CIDRs []string }{cidrs}, "may only hold up to 2 values")}
	}
	var errs field.ErrorList
	seen := map[bool]int{} // how many of each family, by "is IPv6"
	for i, cidr := range cidrs {
		errs = append(errs, validation.IsValidCIDR(cidrsPath.Index(i), cidr)...)
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			seen[prefix.Addr().Is6()]++
		}
	}
	if seen[false] > 1 || seen[true] > 1 {
		errs = append(errs, field.Invalid(cidrsPath, cidrs,
			"may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
	}
	return errs
}
