package clusterip

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/duetk8s/duet/dualstack"
)

// By these the parts that care for Service address ranges know each other's work in the API.
const (
	// ManagedBy is the value of label networkingv1.LabelManagedBy by which the IPAddress objects of
	// Services are told from those that users make. Only they protect a ServiceCIDR (B1.7, B5.7).
	ManagedBy = "ipallocator.k8s.io"
	// ServiceCIDRFinalizer keeps a ServiceCIDR until nothing depends on it (B1.8).
	ServiceCIDRFinalizer = "networking.k8s.io/service-cidr-finalizer"
)

// Labels are those of an IPAddress made for a Service (B1.7).
func Labels(addr netip.Addr) map[string]string {
	return map[string]string{
		networkingv1.LabelIPAddressFamily: string(dualstack.Of(addr)),
		networkingv1.LabelManagedBy:       ManagedBy,
	}
}
