package service

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"
)

// warnings in upstream's order (A5.21, 0.10).
func warnings(svc *corev1.Service) []string {
	spec := &svc.Spec
	var out []string
	warn := func(when bool, text string) {
		if when {
			out = append(out, text)
		}
	}
	_, hints := svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	warn(hints, fmt.Sprintf("annotation %s is deprecated, please use %s instead",
		corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	if !headless(svc) {
		out = append(out, eachIP(clusterIPsPath, spec.ClusterIPs)...)
	}
	warn(headless(svc) && spec.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
	warn(headless(svc) && len(spec.ExternalIPs) > 0, "spec.externalIPs is ignored for headless services")
	warn(headless(svc) && spec.SessionAffinity != corev1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	warn(len(spec.ExternalIPs) > 0, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	out = append(out, eachIP(specPath.Child("externalIPs"), spec.ExternalIPs)...)
	out = append(out, ipWarnings(specPath.Child("loadBalancerIP"), spec.LoadBalancerIP)...)
	for i, cidr := range trimmed(spec.LoadBalancerSourceRanges) {
		out = append(out, cidrWarnings(specPath.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	warn(externalName(svc) && len(spec.ExternalIPs) > 0, `spec.externalIPs is ignored when spec.type is "ExternalName"`)
	warn(!externalName(svc) && spec.ExternalName != "", `spec.externalName is ignored when spec.type is not "ExternalName"`)
	warn(ptr.Deref(spec.TrafficDistribution, "") == corev1.ServiceTrafficDistributionPreferClose,
		`spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`)
	return out
}

func eachIP(path *field.Path, ips []string) []string {
	var out []string
	for i, ip := range ips {
		out = append(out, ipWarnings(path.Index(i), ip)...)
	}
	return out
}

// ipWarnings of something that is an address. loadBalancerIP has never been checked to be one
// (A5.19), and the library would write to the log what it cannot read.
func ipWarnings(path *field.Path, ip string) []string {
	if _, ok := parseIP(ip); !ok {
		return nil
	}
	return validation.GetWarningsForIP(path, ip)
}

// cidrWarnings is the same for a range.
func cidrWarnings(path *field.Path, cidr string) []string {
	if _, _, err := netutils.ParseCIDRSloppy(cidr); err != nil {
		return nil
	}
	return validation.GetWarningsForCIDR(path, cidr)
}
