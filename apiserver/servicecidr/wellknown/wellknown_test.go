package wellknown

import (
	"maps"
	"net/netip"
	"testing"
)

func TestB1_7_Labels(t *testing.T) {
	for addr, family := range map[string]string{"10.96.0.1": "IPv4", "fd00:10:96::1": "IPv6"} {
		want := map[string]string{
			"ipaddress.kubernetes.io/ip-family":  family,
			"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
		}
		if got := Labels(netip.MustParseAddr(addr)); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", addr, got, want)
		}
	}
}

// The acceptance script compares these with the seed page.
func TestB1_8_Words(t *testing.T) {
	for got, want := range map[string]string{
		Finalizer:           "networking.k8s.io/service-cidr-finalizer",
		ReasonOrphan:        "OrphanIPAddress",
		MessageOrphan:       "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		MessageReady:        "Kubernetes Service CIDR is ready",
		MessageDefaultReady: "Kubernetes default Service CIDR is ready",
		DefaultServiceCIDR:  "kubernetes",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
