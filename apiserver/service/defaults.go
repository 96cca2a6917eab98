package service

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// setDefaults applies A1.1-A1.9 in the order of the fields they depend on: the type first.
func setDefaults(svc *corev1.Service) {
	spec := &svc.Spec
	if spec.Type == "" { // A1.1
		spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range spec.Ports {
		defaultPort(&spec.Ports[i])
	}
	defaultAffinity(spec)
	defaultTrafficPolicies(svc)
	if loadBalancer(svc) && spec.AllocateLoadBalancerNodePorts == nil { // A1.8
		spec.AllocateLoadBalancerNodePorts = new(true)
	}
	if loadBalancer(svc) { // A1.9
		for i := range svc.Status.LoadBalancer.Ingress {
			if ingress := &svc.Status.LoadBalancer.Ingress[i]; ingress.IP != "" && ingress.IPMode == nil {
				ingress.IPMode = new(corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// defaultPort: TCP, to the port of the same number (A1.2, A1.3).
func defaultPort(port *corev1.ServicePort) {
	if port.Protocol == "" {
		port.Protocol = corev1.ProtocolTCP
	}
	if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
		port.TargetPort = intstr.FromInt32(port.Port)
	}
}

// defaultAffinity: none, and a configuration exactly when there is one to configure (A1.4, A1.5).
func defaultAffinity(spec *corev1.ServiceSpec) {
	if spec.SessionAffinity == "" {
		spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		config := spec.SessionAffinityConfig
		if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{
				ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(corev1.DefaultClientIPServiceAffinitySeconds)},
			}
		}
	}
}

// defaultTrafficPolicies: the whole cluster, where a policy applies at all (A1.6, A1.7).
//
// An ExternalName service has no internal policy. One that is sent is kept (A5.17); hiding it on
// read is clusterip.DefaultOnRead's (A1.10).
func defaultTrafficPolicies(svc *corev1.Service) {
	spec := &svc.Spec
	if spec.ExternalTrafficPolicy == "" && externallyAccessible(svc) {
		spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}
	if spec.InternalTrafficPolicy == nil && hasInternalTraffic(svc) {
		spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyCluster)
	}
}
