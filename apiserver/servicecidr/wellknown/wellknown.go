// Package wellknown holds the words by which the parts that care for Service address ranges know
// each other's work in the API: finalizer, reasons, messages, labels (B1.7, B1.8, B4, B5). Rule ids
// are those of the behaviour specification.
//
// It has no behaviour and imports nothing but the API types, so controllers, storage and the
// allocator may all import it. The condition type is networkingv1.ServiceCIDRConditionReady.
package wellknown

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Of a ServiceCIDR.
const (
	// DefaultServiceCIDR is the name of the object made from the flags (B4.1).
	DefaultServiceCIDR = "kubernetes"
	// Finalizer keeps a ServiceCIDR until nothing depends on it (B1.8).
	Finalizer = "networking.k8s.io/service-cidr-finalizer"
	// ReasonOrphan is why a ServiceCIDR under deletion stays. Upstream says "Terminating"
	// (networkingv1.ServiceCIDRReasonTerminating); the seed page says this, and wins (B5.2).
	ReasonOrphan = "OrphanIPAddress"
	// MessageOrphan goes with ReasonOrphan (B5.2).
	MessageOrphan = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
	// MessageReady goes with Ready=True, which has no reason (B5.1).
	MessageReady = "Kubernetes Service CIDR is ready"
	// MessageDefaultReady is what the default object starts with (B4.4).
	MessageDefaultReady = "Kubernetes default Service CIDR is ready"
)

// ManagedBy is the value of label networkingv1.LabelManagedBy on an IPAddress that exists because
// a Service has its address. Only those protect a ServiceCIDR (B1.7, B5.7).
const ManagedBy = "ipallocator.k8s.io"

// Labels are those of an IPAddress made for a Service (B1.7).
func Labels(addr netip.Addr) map[string]string {
	family := corev1.IPv4Protocol
	if addr.Is6() {
		family = corev1.IPv6Protocol
	}
	return map[string]string{
		networkingv1.LabelIPAddressFamily: string(family),
		networkingv1.LabelManagedBy:       ManagedBy,
	}
}
