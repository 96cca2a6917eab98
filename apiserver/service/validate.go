package service

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
	portsPath    = specPath.Child("ports")
)

// Values of the closed enumerations. sets.List sorts them for messages (0.3).
var (
	types = sets.New(corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	affinities = sets.New(corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
)

const onlyLoadBalancer = "may only be used when `type` is 'LoadBalancer'"

// validate is the whole of A5 and, with old, A6.6. The order of the calls is the order in which a
// user sees the faults: what may not change first, then the fields in upstream's order.
func validate(svc, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if old != nil {
		errs = append(errs, validateUpdate(svc, old)...)
	}
	errs = append(errs, validateTopologyAnnotations(svc)...)
	errs = append(errs, validateByType(svc)...)
	errs = append(errs, validatePorts(svc)...)
	errs = append(errs, validateSelector(svc)...)
	errs = append(errs, validateAffinity(svc)...)
	errs = append(errs, validateClusterIPs(svc, old)...)
	errs = append(errs, validateExternalIPs(svc, old)...)
	errs = append(errs, validateType(svc)...)
	errs = append(errs, validatePortsTogether(svc)...)
	errs = append(errs, validateSourceRanges(svc, old)...)
	errs = append(errs, validateAllocateNodePorts(svc)...)
	if old == nil { // validateUpdate has done it
		errs = append(errs, validateLoadBalancerClass(svc)...)
	}
	errs = append(errs, validateTrafficPolicies(svc)...)
	return errs
}

// validateTopologyAnnotations: the two names of one setting must agree (A5.20).
func validateTopologyAnnotations(svc *corev1.Service) field.ErrorList {
	hints, deprecated := svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	mode, current := svc.Annotations[corev1.AnnotationTopologyMode]
	if !deprecated || !current || hints == mode {
		return nil
	}
	return field.ErrorList{field.Invalid(
		metadataPath.Child("annotations").Key(corev1.AnnotationTopologyMode), mode,
		fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))}
}

// validateByType: ports that must be there (A5.2), headless types (A5.7), ExternalName (A5.10).
func validateByType(svc *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if len(svc.Spec.Ports) == 0 && !headless(svc) && !externalName(svc) {
		errs = append(errs, field.Required(portsPath, ""))
	}
	if headless(svc) && hasNodePorts(svc) {
		errs = append(errs, field.Invalid(clusterIPsPath.Index(0), svc.Spec.ClusterIPs[0],
			fmt.Sprintf("may not be set to 'None' for %s services", svc.Spec.Type)))
	}
	if externalName(svc) {
		errs = append(errs, validateExternalName(svc)...)
	}
	return errs
}

// validateExternalName: nothing allocated, and a name which may end in one dot (A5.10).
func validateExternalName(svc *corev1.Service) field.ErrorList {
	const forbidden = "may not be set for ExternalName services"
	var errs field.ErrorList
	if len(svc.Spec.ClusterIPs) > 0 {
		errs = append(errs, field.Forbidden(clusterIPsPath, forbidden))
	}
	if len(svc.Spec.IPFamilies) > 0 {
		errs = append(errs, field.Forbidden(ipFamiliesPath, forbidden))
	}
	if svc.Spec.IPFamilyPolicy != nil {
		errs = append(errs, field.Forbidden(ipFamilyPolicyPath, forbidden))
	}
	path, name := specPath.Child("externalName"), strings.TrimSuffix(svc.Spec.ExternalName, ".")
	if name == "" {
		return append(errs, field.Required(path, ""))
	}
	return append(errs, invalid(path, name, validation.IsDNS1123Subdomain(name))...)
}

// validateSelector checks it as labels, in the order of the keys so that the answer is always the
// same (A5.19).
func validateSelector(svc *corev1.Service) field.ErrorList {
	path := specPath.Child("selector")
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(svc.Spec.Selector)) {
		errs = append(errs, metavalidation.ValidateLabelName(key, path)...)
		value := svc.Spec.Selector[key]
		errs = append(errs, invalid(path, value, validation.IsValidLabelValue(value))...)
	}
	return errs
}

// validateAffinity: a known kind, and a timeout exactly for ClientIP (A5.6).
func validateAffinity(svc *corev1.Service) field.ErrorList {
	affinity, config := svc.Spec.SessionAffinity, svc.Spec.SessionAffinityConfig
	path, configPath := specPath.Child("sessionAffinity"), specPath.Child("sessionAffinityConfig")
	switch {
	case affinity == "":
		return field.ErrorList{field.Required(path, "")}
	case !affinities.Has(affinity):
		return field.ErrorList{field.NotSupported(path, affinity, sets.List(affinities))}
	case affinity == corev1.ServiceAffinityClientIP:
		return validateAffinityTimeout(config, configPath)
	case config != nil:
		return field.ErrorList{field.Forbidden(configPath, "must not be set when session affinity is None")}
	}
	return nil
}

// validateAffinityTimeout: up to and including a day, although the message says less (A5.6).
func validateAffinityTimeout(config *corev1.SessionAffinityConfig, path *field.Path) field.ErrorList {
	const missing = "when session affinity type is ClientIP"
	clientIP := path.Child("clientIP")
	seconds := clientIP.Child("timeoutSeconds")
	switch {
	case config == nil:
		return field.ErrorList{field.Required(path, missing)}
	case config.ClientIP == nil:
		return field.ErrorList{field.Required(clientIP, missing)}
	case config.ClientIP.TimeoutSeconds == nil:
		return field.ErrorList{field.Required(seconds, missing)}
	}
	if n := *config.ClientIP.TimeoutSeconds; n <= 0 || n > maxAffinitySeconds {
		return field.ErrorList{field.Invalid(seconds, n,
			fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds))}
	}
	return nil
}

// maxAffinitySeconds is one day.
const maxAffinitySeconds = 86400

// validateType: one of four (A5.5).
func validateType(svc *corev1.Service) field.ErrorList {
	path := specPath.Child("type")
	switch {
	case svc.Spec.Type == "":
		return field.ErrorList{field.Required(path, "")}
	case !types.Has(svc.Spec.Type):
		return field.ErrorList{field.NotSupported(path, svc.Spec.Type, sets.List(types))}
	}
	return nil
}

// invalid turns messages about one value into errors.
func invalid(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, message := range messages {
		errs = append(errs, field.Invalid(path, value, message))
	}
	return errs
}
