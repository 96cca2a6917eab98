package service

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	externalTrafficPolicies = sets.New(corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	internalTrafficPolicies = sets.New(corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	// In the order of the message, which is not sorted (A5.18).
	trafficDistributions = []string{
		corev1.ServiceTrafficDistributionPreferClose,
		corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode,
	}
)

// validateAllocateNodePorts: set for load balancers and nobody else. The path of the second error
// lacks its "spec." (A5.13).
func validateAllocateNodePorts(svc *corev1.Service) field.ErrorList {
	const name = "allocateLoadBalancerNodePorts"
	switch set := svc.Spec.AllocateLoadBalancerNodePorts != nil; {
	case set:
		return requireLoadBalancer(svc, specPath.Child(name))
	case loadBalancer(svc):
		return field.ErrorList{field.Required(field.NewPath(name), "")}
	}
	return nil
}

// validateLoadBalancerClass: a qualified name, for load balancers (A5.14).
func validateLoadBalancerClass(svc *corev1.Service) field.ErrorList {
	class := svc.Spec.LoadBalancerClass
	switch {
	case class == nil:
		return nil
	case !loadBalancer(svc):
		return requireLoadBalancer(svc, loadBalancerClassPath)
	}
	return invalid(loadBalancerClassPath, *class, validation.IsQualifiedName(*class))
}

// validateTrafficPolicies checks who may send where (A5.15-A5.18).
func validateTrafficPolicies(svc *corev1.Service) field.ErrorList {
	errs := validateExternalTrafficPolicy(svc)
	errs = append(errs, validateHealthCheckNodePort(svc)...)
	errs = append(errs, validateInternalTrafficPolicy(svc)...)
	path, distribution := specPath.Child("trafficDistribution"), svc.Spec.TrafficDistribution
	if distribution != nil && !sets.New(trafficDistributions...).Has(*distribution) {
		errs = append(errs, field.NotSupported(path, *distribution, trafficDistributions))
	}
	return errs
}

// validateExternalTrafficPolicy: exactly for traffic from outside (A5.15).
func validateExternalTrafficPolicy(svc *corev1.Service) field.ErrorList {
	path, policy := specPath.Child("externalTrafficPolicy"), svc.Spec.ExternalTrafficPolicy
	switch {
	case !externallyAccessible(svc) && policy == "":
		return nil
	case !externallyAccessible(svc):
		return field.ErrorList{field.Invalid(path, policy, "may only be set for externally-accessible services")}
	case policy == "":
		return field.ErrorList{field.Required(path, "")}
	case !externalTrafficPolicies.Has(policy):
		return field.ErrorList{field.NotSupported(path, policy, sets.List(externalTrafficPolicies))}
	}
	return nil
}

// validateHealthCheckNodePort: exactly for load balancers with local traffic (A5.16).
func validateHealthCheckNodePort(svc *corev1.Service) field.ErrorList {
	port := svc.Spec.HealthCheckNodePort
	switch {
	case !needsHealthCheck(svc) && port != 0:
		return field.ErrorList{field.Invalid(healthCheckNodePortPath, port,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")}
	case !needsHealthCheck(svc):
		return nil
	case port == 0:
		return field.ErrorList{field.Required(healthCheckNodePortPath, "")}
	}
	return invalid(healthCheckNodePortPath, port, validation.IsValidPortNum(int(port)))
}

// validateInternalTrafficPolicy: required but for ExternalName (A5.17).
func validateInternalTrafficPolicy(svc *corev1.Service) field.ErrorList {
	path, policy := specPath.Child("internalTrafficPolicy"), svc.Spec.InternalTrafficPolicy
	switch {
	case policy == nil && hasInternalTraffic(svc):
		return field.ErrorList{field.Required(path, "")}
	case policy != nil && !internalTrafficPolicies.Has(*policy):
		return field.ErrorList{field.NotSupported(path, *policy, sets.List(internalTrafficPolicies))}
	}
	return nil
}
