package servicecidr

import (
	"net/netip"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/clusterip"
)

func serviceCIDR(name string, cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Finalizers: []string{clusterip.ServiceCIDRFinalizer}},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
	}
}

func deleting(cidr *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDR {
	cidr.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	return cidr
}

// TestProtects is the truth table B5.8, with duet's difference B5.6, for both families.
func TestProtects(t *testing.T) {
	const v4, v6 = "192.168.0.0/24", "2001:db2::/64"
	const free, blocked = "free", "blocked"
	tests := []struct {
		name   string
		mine   []string
		addrs  []string
		others []*networkingv1.ServiceCIDR
		want   string
	}{
		{"no addresses", []string{v4, v6}, nil, nil, free},
		{"v4 address inside", []string{v4}, []string{"192.168.0.12"}, nil, blocked},
		{"v6 address inside", []string{v6}, []string{"2001:db2::c"}, nil, blocked},
		{"v4 address inside v4+v6", []string{v4, v6}, []string{"192.168.0.12"}, nil, blocked},
		{"v6 address inside v4+v6", []string{v4, v6}, []string{"2001:db2::c"}, nil, blocked},
		{"v6 address inside v6+v4", []string{v6, v4}, []string{"2001:db2::c"}, nil, blocked},
		{"addresses outside", []string{v4, v6}, []string{"192.168.1.12", "2001:db3::c"}, nil, free},
		{"network addresses", []string{v4, v6}, []string{"192.168.0.0", "2001:db2::"}, nil, free},
		{"v4 broadcast", []string{v4, v6}, []string{"192.168.0.255"}, nil, free},
		{"v6 last", []string{v4, v6}, []string{"2001:db2::ffff:ffff:ffff:ffff"}, nil, blocked},
		{"same ranges stay", []string{v4, v6}, []string{"192.168.0.23", "2001:db2::c"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", v4, v6)}, free},
		{"same ranges go too (B5.6)", []string{v4, v6}, []string{"192.168.0.23"}, []*networkingv1.ServiceCIDR{deleting(serviceCIDR("b", v4, v6))}, blocked},
		{"only v4 stays, v6 used", []string{v4, v6}, []string{"2001:db2::c"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", v4)}, blocked},
		{"only v4 stays, v4 used", []string{v4, v6}, []string{"192.168.0.23"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", v4)}, free},
		{"/26 covers the address", []string{v4, v6}, []string{"192.168.0.23"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "192.168.0.0/26")}, free},
		{"/28 does not cover it", []string{v4, v6}, []string{"192.168.0.23"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "192.168.0.0/28")}, blocked},
		{"broadcast of a /28 is not in it (B6.3)", []string{v4}, []string{"192.168.0.15"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "192.168.0.0/28")}, blocked},
		{"/16 stays", []string{v4, v6}, []string{"192.168.0.23"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "192.168.0.0/16")}, free},
		{"/16 goes too", []string{v4, v6}, []string{"192.168.0.23"}, []*networkingv1.ServiceCIDR{deleting(serviceCIDR("b", "192.168.0.0/16"))}, blocked},
		{"v6 /112 covers the address", []string{v6}, []string{"2001:db2::c"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "2001:db2::/112")}, free},
		{"v6 /48 stays", []string{v6}, []string{"2001:db2::c"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "2001:db2::/48")}, free},
		{"two halves stay together", []string{v4}, []string{"192.168.0.23", "192.168.0.200"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "192.168.0.0/25"), serviceCIDR("c", "192.168.0.128/25")}, free},
		{"the middle falls between the halves", []string{v4}, []string{"192.168.0.127"}, []*networkingv1.ServiceCIDR{serviceCIDR("b", "192.168.0.0/25"), serviceCIDR("c", "192.168.0.128/25")}, blocked},
		{"/32 has no usable address", []string{"192.168.0.7/32"}, []string{"192.168.0.7"}, nil, free},
		{"/127 has one", []string{"2001:db2::/127"}, []string{"2001:db2::1"}, nil, blocked},
		{"/0", []string{"0.0.0.0/0"}, []string{"255.255.255.255"}, nil, free},
		{"v6 /0", []string{"::/0"}, []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, nil, blocked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			subject := deleting(serviceCIDR("a", tt.mine...))
			g, err := guardOf(subject, append(tt.others, subject))
			if err != nil {
				t.Fatal(err)
			}
			got := free
			for _, a := range tt.addrs {
				if g.protects(netip.MustParseAddr(a)) {
					got = blocked
				}
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestTransition(t *testing.T) {
	long, now := metav1.Unix(1000, 0), metav1.Unix(2000, 0)
	with := func(c metav1.Condition) *networkingv1.ServiceCIDR {
		cidr := serviceCIDR("a")
		c.LastTransitionTime = long
		cidr.Status.Conditions = []metav1.Condition{c}
		return cidr
	}
	other := ready()
	other.Message = "Kubernetes default Service CIDR is ready"
	tests := []struct {
		name  string
		cidr  *networkingv1.ServiceCIDR
		want  metav1.Condition
		write bool
		since metav1.Time
	}{
		{"none yet", serviceCIDR("a"), ready(), true, now},
		{"as it is", with(ready()), ready(), false, long},
		{"other message", with(other), ready(), true, long},
		{"blocked", with(ready()), blocked(), true, now},
		{"ready again", with(blocked()), ready(), true, now},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, write := transition(tt.cidr, tt.want, now)
			if write != tt.write || !got.LastTransitionTime.Equal(&tt.since) {
				t.Errorf("write %v since %v, want %v since %v", write, got.LastTransitionTime, tt.write, tt.since)
			}
		})
	}
}
