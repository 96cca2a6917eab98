package service

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	ingressPath = field.NewPath("status", "loadBalancer", "ingress")
	ipModes     = sets.New(corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
)

// validateStatus checks the addresses of a load balancer, which nobody else may have (A10.1, A10.2).
func validateStatus(svc, old *corev1.Service) field.ErrorList {
	if !loadBalancer(svc) && len(svc.Status.LoadBalancer.Ingress) > 0 {
		return field.ErrorList{field.Forbidden(ingressPath, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var known []string
	if old != nil {
		for i := range old.Status.LoadBalancer.Ingress {
			known = append(known, old.Status.LoadBalancer.Ingress[i].IP)
		}
	}
	var errs field.ErrorList
	for i := range svc.Status.LoadBalancer.Ingress {
		errs = append(errs, validateIngress(&svc.Status.LoadBalancer.Ingress[i], known, ingressPath.Index(i))...)
	}
	return errs
}

// validateIngress checks one address or name; known are the addresses that were there (0.9, A10.2).
func validateIngress(ingress *corev1.LoadBalancerIngress, known []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ingress.IP != "" {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Child("ip"), ingress.IP, true, known)...)
	}
	switch modePath := path.Child("ipMode"); {
	case ingress.IPMode == nil && ingress.IP != "":
		errs = append(errs, field.Required(modePath, "must be specified when `ip` is set"))
	case ingress.IPMode == nil:
	case ingress.IP == "":
		errs = append(errs, field.Forbidden(modePath, "may not be specified when `ip` is not set"))
	case !ipModes.Has(*ingress.IPMode):
		errs = append(errs, field.NotSupported(modePath, *ingress.IPMode, sets.List(ipModes)))
	}
	if ingress.Hostname == "" {
		return errs
	}
	hostnamePath := path.Child("hostname")
	errs = append(errs, invalid(hostnamePath, ingress.Hostname, validation.IsDNS1123Subdomain(ingress.Hostname))...)
	if _, is := parseIP(ingress.Hostname); is {
		errs = append(errs, field.Invalid(hostnamePath, ingress.Hostname, "must be a DNS name, not an IP address"))
	}
	return errs
}

// statusWarnings are those of 0.10 for load balancer addresses; the path is that of the entry, as
// upstream has it.
func statusWarnings(svc *corev1.Service) []string {
	var out []string
	for i := range svc.Status.LoadBalancer.Ingress {
		out = slices.Concat(out, ipWarnings(ingressPath.Index(i), svc.Status.LoadBalancer.Ingress[i].IP))
	}
	return out
}
