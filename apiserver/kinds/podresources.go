package kinds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// standardResources are those of a container that have no domain, beside huge pages.
var standardResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// containerResources checks limits and requests. What cannot be shared, huge pages and extended
// resources, is requested as much as it is limited.
func containerResources(s *corev1.PodSpec, r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	limits, requests := path.Child("limits"), path.Child("requests")
	errs := amounts(r.Limits, limits)
	errs = append(errs, amounts(r.Requests, requests)...)
	for _, key := range sorted(stringKeys(r.Requests)) {
		name := corev1.ResourceName(key)
		request := r.Requests[name]
		limit, limited := r.Limits[name]
		shared := slices.Contains(standardResources, name)
		switch {
		case !limited && !shared:
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		case limited && !shared && request.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	if hugePages(r.Limits) || hugePages(r.Requests) {
		if !has(r.Limits, corev1.ResourceCPU, corev1.ResourceMemory) && !has(r.Requests, corev1.ResourceCPU, corev1.ResourceMemory) {
			errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
		}
	}
	for i, claim := range r.Claims {
		at := path.Child("claims").Index(i)
		if claim.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else if !slices.ContainsFunc(s.ResourceClaims, func(c corev1.PodResourceClaim) bool { return c.Name == claim.Name }) {
			errs = append(errs, field.NotFound(at, claim.Name))
		}
	}
	return errs
}

// amounts checks names and quantities.
func amounts(list corev1.ResourceList, path *field.Path) (errs field.ErrorList) {
	for _, key := range sorted(stringKeys(list)) {
		at, q := path.Key(key), list[corev1.ResourceName(key)]
		errs = append(errs, resourceName(key, at)...)
		errs = append(errs, amount(key, q, at)...)
	}
	return errs
}

func resourceName(name string, path *field.Path) field.ErrorList {
	if errs := faults(path, name, content.IsLabelKey(name)); len(errs) > 0 {
		return errs
	}
	domain, _, qualified := strings.Cut(name, "/")
	switch {
	case !qualified && !slices.Contains(standardResources, corev1.ResourceName(name)) && !strings.HasPrefix(name, corev1.ResourceHugePagesPrefix):
		return field.ErrorList{field.Invalid(path, name, "must be a standard resource for containers")}
	case qualified && (domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") || strings.HasPrefix(domain, "requests.")):
		return field.ErrorList{field.Invalid(path, name, "doesn't follow extended resource name standard")}
	}
	return nil
}

func amount(name string, q resource.Quantity, path *field.Path) (errs field.ErrorList) {
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), negative))
	}
	if strings.Contains(name, "/") && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

func hugePages(list corev1.ResourceList) bool {
	for name := range list {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			return true
		}
	}
	return false
}

func has(list corev1.ResourceList, names ...corev1.ResourceName) bool {
	return slices.ContainsFunc(names, func(n corev1.ResourceName) bool { _, ok := list[n]; return ok })
}

func resizePolicies(s *corev1.PodSpec, policies []corev1.ContainerResizePolicy, path *field.Path) (errs field.ErrorList) {
	seen := map[corev1.ResourceName]bool{}
	for i, p := range policies {
		at := path.Index(i)
		if seen[p.ResourceName] {
			errs = append(errs, field.Duplicate(at, p.ResourceName))
		}
		seen[p.ResourceName] = true
		errs = append(errs, required(p.ResourceName, at.Child("resourceName"), corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, required(p.RestartPolicy, at.Child("restartPolicy"), corev1.NotRequired, corev1.RestartContainer)...)
		if s.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(at, p.RestartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
		}
	}
	return errs
}
