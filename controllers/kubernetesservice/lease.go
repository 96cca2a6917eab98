package kubernetesservice

import (
	"net/netip"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A server that did not renew its Lease for leaseDuration is taken out of the endpoints. It
// renews every third of that.
const (
	leaseDuration = 30 * time.Second
	renewEvery    = leaseDuration / 3
)

// leaseLabel selects the Leases of API servers in kube-system; holderIdentity is the address.
var leaseLabel = map[string]string{"duetk8s.io/lease": "apiserver"}

// leaseName is "apiserver-" and the address, with dashes because a name allows no colons.
func leaseName(address netip.Addr) string {
	return "apiserver-" + strings.NewReplacer(":", "-", ".", "-").Replace(address.StringExpanded())
}

// leaseOf is the Lease of the server that advertises address, renewed now.
func leaseOf(address netip.Addr, now time.Time) *coordinationv1.Lease {
	holder, seconds, renewed := address.String(), int32(leaseDuration/time.Second), metav1.NewMicroTime(now)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName(address), Namespace: metav1.NamespaceSystem, Labels: leaseLabel},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed},
	}
}

// due reports whether a Lease should be renewed.
func due(lease *coordinationv1.Lease, now time.Time) bool {
	return lease.Spec.RenewTime == nil || now.Sub(lease.Spec.RenewTime.Time) >= renewEvery/2
}

// alive returns the addresses of the family of own whose Leases hold, own always among them.
func alive(leases []coordinationv1.Lease, own netip.Addr, now time.Time) []netip.Addr {
	servers := []netip.Addr{own}
	for i := range leases {
		spec := leases[i].Spec
		if spec.HolderIdentity == nil || spec.RenewTime == nil || now.Sub(spec.RenewTime.Time) >= leaseDuration {
			continue
		}
		address, err := netip.ParseAddr(*spec.HolderIdentity)
		if err == nil && address.Is4() == own.Is4() {
			servers = append(servers, address)
		}
	}
	return sorted(servers)
}
