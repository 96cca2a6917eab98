package clusterip

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
