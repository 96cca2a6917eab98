package servicecidr

import "testing"

// The acceptance script compares these with the seed page.
func TestB5_2_Words(t *testing.T) {
	for got, want := range map[string]string{
		ReasonOrphan:   "OrphanIPAddress",
		messageBlocked: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		messageReady:   "Kubernetes Service CIDR is ready",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
