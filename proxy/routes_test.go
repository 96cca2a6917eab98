package proxy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/sandbox"
)

// Routes of the node follow the ServiceCIDRs and addresses of Services, and come back with their link.
func testRoutes(t *testing.T, c *cluster) {
	routed := func() string {
		var out []string
		for _, f := range []string{"-4", "-6"} {
			for line := range strings.Lines(sandbox.Run(t, "ip", f, "route", "show", "table", "146")) {
				out = append(out, strings.Join(strings.Fields(line)[:3], " "))
			}
		}
		slices.Sort(out)
		return strings.Join(out, "|")
	}
	before := routed()
	grown := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.97.0.0/24", "fd00:10:97::/120"}}}
	c.cidrs.Add(grown)
	c.services.Modify(web("routed", "30", func(s *corev1.Service) {
		s.Spec.ClusterIPs = []string{"10.97.0.30", "fd00:10:97::30"}
		s.Spec.ExternalIPs = []string{"192.0.2.30", "2001:db8::30", "2001:db8::31"}
	}))
	for _, s := range endpoints("routed", pod1) {
		c.slices.Modify(s)
	}
	more := strings.Split(before, "|")
	for _, to := range []string{"10.97.0.0/24", "fd00:10:97::/120", "192.0.2.30", "2001:db8::30", "2001:db8::31"} {
		more = append(more, to+" dev eth0")
	}
	slices.Sort(more)
	eventually.Is(t, 30*time.Second, "more routes", routed, strings.Join(more, "|"))
	for _, to := range []string{"10.97.0.30:80", "[fd00:10:97::30]:80", "192.0.2.30:80", "[2001:db8::31]:80"} {
		if got := who(call(t, "node", "tcp", to)); got != "pod1 node" {
			t.Errorf("%s: got %q", to, got)
		}
	}
	sandbox.IP(t, "link set eth0 down\nlink set eth0 up\naddr add fd00:172:30::3/64 dev eth0 nodad\nroute add 10.244.1.0/24 via 172.30.0.4\n-6 route add fd00:10:244:1::/64 via fd00:172:30::4")
	eventually.Is(t, 30*time.Second, "the routes again", routed, strings.Join(more, "|"))
	c.services.Delete(web("routed", "30"))
	c.cidrs.Delete(grown.DeepCopy())
	eventually.Is(t, 30*time.Second, "the routes as before", routed, before)
}

func TestChoose(t *testing.T) {
	at := func(ip string, index int) hostnet.Address {
		return hostnet.Address{Prefix: netip.MustParsePrefix(ip), Index: index}
	}
	all := []hostnet.Address{
		at("127.0.0.1/8", 1), at("::1/128", 1), at("10.244.0.1/24", 2), at("fe80::1/64", 2), at("fd00:10:244::1/64", 2),
		at("172.30.0.3/24", 3), at("fd00:172:30::3/64", 3),
	}
	for own, want := range map[string]map[dualstack.Family]int{
		"172.30.0.3":                {dualstack.IPv4: 3, dualstack.IPv6: 2},
		"fd00:172:30::3":            {dualstack.IPv4: 2, dualstack.IPv6: 3},
		"172.30.0.3 fd00:172:30::3": {dualstack.IPv4: 3, dualstack.IPv6: 3},
		"fd00:172:30::3 172.30.0.3": {dualstack.IPv4: 3, dualstack.IPv6: 3},
		"192.0.2.1 2001:db8::1":     {dualstack.IPv4: 2, dualstack.IPv6: 2},
		"":                          {dualstack.IPv4: 2, dualstack.IPv6: 2},
	} {
		var list []netip.Addr
		for ip := range strings.FieldsSeq(own) {
			list = append(list, netip.MustParseAddr(ip))
		}
		if got := choose(hostnet.State{Addresses: all}, list); !maps.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", own, got, want)
		}
	}
	if got := choose(hostnet.State{Addresses: all[:4]}, nil); got[dualstack.IPv6] != 0 {
		t.Errorf("a way out in IPv6 without an address: %v", got)
	}
}
