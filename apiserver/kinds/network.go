package kinds

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateNetworkPolicy checks selectors, ports and blocks of addresses of either family.
func ValidateNetworkPolicy(p, _ *networkingv1.NetworkPolicy) field.ErrorList {
	path := field.NewPath("spec")
	errs := labelSelector(&p.Spec.PodSelector, path.Child("podSelector"))
	for i, rule := range p.Spec.Ingress {
		at := path.Child("ingress").Index(i)
		errs = append(errs, policyPorts(rule.Ports, at.Child("ports"))...)
		errs = append(errs, policyPeers(rule.From, at.Child("from"))...)
	}
	for i, rule := range p.Spec.Egress {
		at := path.Child("egress").Index(i)
		errs = append(errs, policyPorts(rule.Ports, at.Child("ports"))...)
		errs = append(errs, policyPeers(rule.To, at.Child("to"))...)
	}
	if len(p.Spec.PolicyTypes) > 2 {
		return append(errs, field.Invalid(path.Child("policyTypes"), p.Spec.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, kind := range p.Spec.PolicyTypes {
		errs = append(errs, oneOf(kind, path.Child("policyTypes").Index(i),
			networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func policyPorts(ports []networkingv1.NetworkPolicyPort, path *field.Path) (errs field.ErrorList) {
	for i, p := range ports {
		at := path.Index(i)
		if p.Protocol != nil {
			errs = append(errs, protocol(*p.Protocol, at.Child("protocol"))...)
		}
		switch {
		case p.Port == nil:
			if p.EndPort != nil {
				errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, "may not be specified when `port` is not specified"))
			}
		case p.Port.Type == intstr.String:
			if p.EndPort != nil {
				errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, "may not be specified when `port` is non-numeric"))
			}
			errs = append(errs, faults(at.Child("port"), p.Port.StrVal, utilvalidation.IsValidPortName(p.Port.StrVal))...)
		default:
			errs = append(errs, portNumber(p.Port.IntVal, at.Child("port"))...)
			if p.EndPort == nil {
				continue
			}
			if *p.EndPort < p.Port.IntVal {
				errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, "must be greater than or equal to `port`"))
			}
			errs = append(errs, portNumber(*p.EndPort, at.Child("endPort"))...)
		}
	}
	return errs
}

func policyPeers(peers []networkingv1.NetworkPolicyPeer, path *field.Path) (errs field.ErrorList) {
	for i, p := range peers {
		at, ways := path.Index(i), 0
		if p.PodSelector != nil {
			ways++
			errs = append(errs, labelSelector(p.PodSelector, at.Child("podSelector"))...)
		}
		if p.NamespaceSelector != nil {
			ways++
			errs = append(errs, labelSelector(p.NamespaceSelector, at.Child("namespaceSelector"))...)
		}
		if p.IPBlock != nil {
			if ways > 0 {
				errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
			}
			ways++
			errs = append(errs, ipBlock(p.IPBlock, at.Child("ipBlock"))...)
		}
		if ways == 0 {
			errs = append(errs, field.Required(at, "must specify a peer"))
		}
	}
	return errs
}

func ipBlock(b *networkingv1.IPBlock, path *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(path.Child("cidr"), "")}
	}
	errs := utilvalidation.IsValidCIDRForLegacyField(path.Child("cidr"), b.CIDR, true, nil)
	outer, err := netip.ParsePrefix(b.CIDR)
	if len(errs) > 0 || err != nil {
		return errs
	}
	for i, except := range b.Except {
		at := path.Child("except").Index(i)
		bad := utilvalidation.IsValidCIDRForLegacyField(at, except, true, nil)
		errs = append(errs, bad...)
		inner, err := netip.ParsePrefix(except)
		if len(bad) > 0 || err != nil {
			continue
		}
		if inner.Bits() <= outer.Bits() || !outer.Masked().Contains(inner.Addr()) {
			errs = append(errs, field.Invalid(at, except, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

// ValidateIngress checks hosts, paths and backends.
func ValidateIngress(i, _ *networkingv1.Ingress) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &i.Spec
	if s.DefaultBackend == nil && len(s.Rules) == 0 {
		errs = append(errs, field.Invalid(path, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.IngressClassName != nil {
		errs = append(errs, dnsSubdomain(*s.IngressClassName, path.Child("ingressClassName"))...)
	}
	if s.DefaultBackend != nil {
		errs = append(errs, ingressBackend(s.DefaultBackend, path.Child("defaultBackend"))...)
	}
	for j, rule := range s.Rules {
		at := path.Child("rules").Index(j)
		errs = append(errs, ingressHost(rule.Host, at.Child("host"))...)
		if rule.HTTP == nil {
			continue
		}
		at = at.Child("http", "paths")
		if len(rule.HTTP.Paths) == 0 {
			errs = append(errs, field.Required(at, ""))
		}
		for k := range rule.HTTP.Paths {
			errs = append(errs, ingressPath(&rule.HTTP.Paths[k], at.Index(k))...)
		}
	}
	for j, tls := range s.TLS {
		for k, host := range tls.Hosts {
			errs = append(errs, ingressHost(host, path.Child("tls").Index(j).Child("hosts").Index(k))...)
		}
	}
	return errs
}

func ingressHost(host string, path *field.Path) field.ErrorList {
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return field.ErrorList{field.Invalid(path, host, "must be a DNS name, not an IP address")}
	}
	if strings.Contains(host, "*") {
		return faults(path, host, utilvalidation.IsWildcardDNS1123Subdomain(host))
	}
	return dnsSubdomain(host, path)
}

func ingressPath(p *networkingv1.HTTPIngressPath, path *field.Path) (errs field.ErrorList) {
	if p.PathType == nil {
		return field.ErrorList{field.Required(path.Child("pathType"), "pathType must be specified")}
	}
	errs = oneOf(*p.PathType, path.Child("pathType"), networkingv1.PathTypeExact,
		networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	specific := *p.PathType == networkingv1.PathTypeImplementationSpecific && p.Path == ""
	if !specific && !strings.HasPrefix(p.Path, "/") {
		errs = append(errs, field.Invalid(path.Child("path"), p.Path, "must be an absolute path"))
	}
	return append(errs, ingressBackend(&p.Backend, path.Child("backend"))...)
}

func ingressBackend(b *networkingv1.IngressBackend, path *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(path, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return append(required(b.Resource.Kind, path.Child("resource", "kind")),
			required(b.Resource.Name, path.Child("resource", "name"))...)
	case b.Service == nil:
		return field.ErrorList{field.Required(path, "either service or resource backend must be specified")}
	}
	at := path.Child("service")
	errs := required(b.Service.Name, at.Child("name"))
	switch port := b.Service.Port; {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(at.Child("port"), "", "cannot set both port name & port number"))
	case port.Name != "":
		errs = append(errs, faults(at.Child("port", "name"), port.Name, utilvalidation.IsValidPortName(port.Name))...)
	case port.Number != 0:
		errs = append(errs, portNumber(port.Number, at.Child("port", "number"))...)
	default:
		errs = append(errs, field.Required(at.Child("port"), "port name or number is required"))
	}
	return errs
}

// ValidateIngressClass keeps the controller of a class.
func ValidateIngressClass(c, old *networkingv1.IngressClass) field.ErrorList {
	path := field.NewPath("spec", "controller")
	if old != nil {
		return immutable(c.Spec.Controller, old.Spec.Controller, path)
	}
	if c.Spec.Controller == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return utilvalidation.IsDomainPrefixedPath(path, c.Spec.Controller)
}
