package kinds

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits of an EndpointSlice (D4.6).
const (
	maxSliceEndpoints    = 1000
	maxSlicePorts        = 20000
	maxEndpointAddresses = 100
)

// ValidateEndpointSlice checks addresses against the slice's type, which never changes (D4.1, D4.6).
func ValidateEndpointSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := required(s.AddressType, field.NewPath("addressType"),
		discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	if old != nil {
		errs = append(errs, immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
	}
	errs = append(errs, slicePorts(s.Ports)...)
	// Endpoints that do not change are not checked again (0.9).
	if old == nil || !equal(s.Endpoints, old.Endpoints) {
		errs = append(errs, sliceEndpoints(s)...)
	}
	return errs
}

func sliceEndpoints(s *discoveryv1.EndpointSlice) (errs field.ErrorList) {
	path := field.NewPath("endpoints")
	if len(s.Endpoints) > maxSliceEndpoints {
		return field.ErrorList{field.TooMany(path, len(s.Endpoints), maxSliceEndpoints)}
	}
	for i, e := range s.Endpoints {
		at := path.Index(i)
		list := at.Child("addresses")
		switch n := len(e.Addresses); {
		case n == 0:
			errs = append(errs, field.Required(list, "must contain at least 1 address"))
		case n > maxEndpointAddresses:
			errs = append(errs, field.TooMany(list, n, maxEndpointAddresses))
		}
		for j, a := range e.Addresses {
			errs = append(errs, sliceAddress(a, s.AddressType, list.Index(j))...)
		}
		if e.NodeName != nil {
			errs = append(errs, dnsSubdomain(*e.NodeName, at.Child("nodeName"))...)
		}
		if e.Hostname != nil {
			errs = append(errs, dnsLabel(*e.Hostname, at.Child("hostname"))...)
		}
	}
	return errs
}

// sliceAddress checks one address: IPv4 by the legacy rules, IPv6 strictly (0.9).
func sliceAddress(a string, kind discoveryv1.AddressType, path *field.Path) (errs field.ErrorList) {
	switch kind {
	case discoveryv1.AddressTypeIPv4:
		errs = utilvalidation.IsValidIPForLegacyField(path, a, true, nil)
		if ip, err := netip.ParseAddr(a); len(errs) == 0 && err == nil && !ip.Is4() {
			errs = append(errs, field.Invalid(path, a, "must be an IPv4 address"))
		}
	case discoveryv1.AddressTypeIPv6:
		errs = utilvalidation.IsValidIP(path, a)
		if ip, err := netip.ParseAddr(a); len(errs) == 0 && err == nil && !ip.Is6() {
			errs = append(errs, field.Invalid(path, a, "must be an IPv6 address"))
		}
	default:
		return utilvalidation.IsFullyQualifiedDomainName(path, a)
	}
	return append(errs, specialRange(a, path)...)
}

// specialRange refuses addresses that only mean something on one host or link (A5.8).
func specialRange(a string, path *field.Path) (errs field.ErrorList) {
	ip, err := netip.ParseAddr(a)
	if err != nil {
		return nil // reported by the syntax check
	}
	fault := func(text string) { errs = append(errs, field.Invalid(path, a, text)) }
	if ip.IsUnspecified() {
		fault("may not be unspecified (" + a + ")")
	}
	if ip.IsLoopback() {
		fault("may not be in the loopback range (127.0.0.0/8, ::1/128)")
	}
	if ip.IsLinkLocalUnicast() {
		fault("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	}
	if ip.IsLinkLocalMulticast() {
		fault("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
	return errs
}

func slicePorts(ports []discoveryv1.EndpointPort) (errs field.ErrorList) {
	path := field.NewPath("ports")
	if len(ports) > maxSlicePorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxSlicePorts)}
	}
	names := sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != nil {
			if *p.Name != "" {
				errs = append(errs, dnsLabel(*p.Name, at.Child("name"))...)
			}
			if names.Has(*p.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names.Insert(*p.Name)
		}
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, protocol(*p.Protocol, at.Child("protocol"))...)
		}
		if p.Port != nil {
			errs = append(errs, portNumber(*p.Port, at.Child("port"))...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, faults(at.Child("appProtocol"), *p.AppProtocol, content.IsLabelKey(*p.AppProtocol))...)
		}
	}
	return errs
}

func protocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	return oneOf(p, path, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
}

// EndpointSliceWarnings warns of a type nothing serves (D4.6) and of addresses in odd notation.
func EndpointSliceWarnings(s, _ *discoveryv1.EndpointSlice) (warnings []string) {
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return []string{"spec.addressType: FQDN endpoints are deprecated"}
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			path := field.NewPath("endpoints").Index(i).Child("addresses").Index(j)
			warnings = append(warnings, ipWarnings(a, path)...)
		}
	}
	return warnings
}

// EndpointsWarnings tells writers of the old API what replaced it (D4.9).
func EndpointsWarnings(_, _ *corev1.Endpoints) []string { //nolint:staticcheck // served as long as upstream serves it
	return []string{"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}
}

// ValidateEndpoints checks the subsets of an Endpoints, each of any family. Addresses the old
// object held already are tolerated.
func ValidateEndpoints(e, old *corev1.Endpoints) (errs field.ErrorList) { //nolint:staticcheck // served as long as upstream serves it
	var known []string
	if old != nil {
		if equal(e.Subsets, old.Subsets) {
			return nil
		}
		for _, s := range old.Subsets {
			for _, a := range append(s.Addresses, s.NotReadyAddresses...) {
				known = append(known, a.IP)
			}
		}
	}
	for i, s := range e.Subsets {
		errs = append(errs, subset(s, known, field.NewPath("subsets").Index(i))...)
	}
	return errs
}

func subset(s corev1.EndpointSubset, known []string, path *field.Path) (errs field.ErrorList) { //nolint:staticcheck // served as long as upstream serves it
	if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
		errs = append(errs, field.Required(path, "must specify `addresses` or `notReadyAddresses`"))
	}
	check := func(list []corev1.EndpointAddress, name string) {
		for i, a := range list {
			at := path.Child(name).Index(i)
			errs = append(errs, utilvalidation.IsValidIPForLegacyField(at.Child("ip"), a.IP, true, known)...)
			errs = append(errs, specialRange(a.IP, at.Child("ip"))...)
			if a.Hostname != "" {
				errs = append(errs, dnsLabel(a.Hostname, at.Child("hostname"))...)
			}
			if a.NodeName != nil {
				errs = append(errs, dnsSubdomain(*a.NodeName, at.Child("nodeName"))...)
			}
		}
	}
	check(s.Addresses, "addresses")
	check(s.NotReadyAddresses, "notReadyAddresses")
	for i, p := range s.Ports {
		at := path.Child("ports").Index(i)
		switch {
		case p.Name != "":
			errs = append(errs, dnsLabel(p.Name, at.Child("name"))...)
		case len(s.Ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, portNumber(p.Port, at.Child("port"))...)
		errs = append(errs, required(p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	return errs
}
