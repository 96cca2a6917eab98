package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/golden"
)

// node is written down as "NAME podCIDR,podCIDR address,address".
func node(text string) *corev1.Node {
	f := strings.Fields(text)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f[0]}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: f[0]}}
	if f[1] != "-" {
		n.Spec.PodCIDRs = strings.Split(f[1], ",")
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	if f[2] != "-" {
		for a := range strings.SplitSeq(f[2], ",") {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
	}
	return n
}

func nodes(list ...string) []*corev1.Node {
	var out []*corev1.Node
	for _, s := range list {
		out = append(out, node(s))
	}
	return out
}

func (w Wanted) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", w.Conflist)
	fmt.Fprintf(&b, "bridge %s mtu %d: %s\n", w.Bridge.Name, w.Bridge.MTU, dualstack.Join(w.Bridge.Addresses))
	for _, r := range w.Routes {
		fmt.Fprintf(&b, "route %s via %s\n", r.To, r.Via)
	}
	fmt.Fprintf(&b, "masquerade %s unless to %s\n", dualstack.Join(w.Table.Local), dualstack.Join(w.Table.Inside))
	for _, p := range w.Table.Ports {
		fmt.Fprintf(&b, "port %d %s\n", p.Port, p.To)
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	base := Snapshot{Node: "a", Bridge: "duet0", MTU: 1500, StateDir: "/state"}
	for _, tt := range []struct {
		name  string
		nodes []*corev1.Node
		ports []hostnet.HostPort
	}{
		{name: "v4", nodes: nodes("a 10.244.0.0/24 172.30.0.3", "b 10.244.1.0/24 172.30.0.4")},
		{name: "v6", nodes: nodes("a fd00:10:244::/64 fd00:172:30::3", "b fd00:10:244:1::/64 fd00:172:30::4")},
		{
			name: "v4v6", nodes: nodes("b 10.244.1.0/24,fd00:10:244:1::/64 172.30.0.4,fd00:172:30::4", "a 10.244.0.0/24,fd00:10:244::/64 172.30.0.3,fd00:172:30::3"),
			ports: []hostnet.HostPort{{Port: 8080, To: netip.MustParseAddrPort("10.244.0.2:80")}},
		},
		{name: "v6v4", nodes: nodes("a fd00:10:244::/64,10.244.0.0/24 fd00:172:30::3,172.30.0.3", "b fd00:10:244:1::/64,10.244.1.0/24 fd00:172:30::4,172.30.0.4")},
		{name: "pods v6 on dual-stack nodes", nodes: nodes("a fd00:10:244::/64 172.30.0.3,fd00:172:30::3", "b fd00:10:244:1::/64 172.30.0.4,fd00:172:30::4")},
		{name: "others incomplete", nodes: nodes("a 10.244.0.0/24,fd00:10:244::/64 172.30.0.3,fd00:172:30::3",
			"no-range - 172.30.0.4", "no-address 10.244.2.0/24 -", "one-family 10.244.3.0/24,fd00:10:244:3::/64 172.30.0.6")},
		{name: "no range yet", nodes: nodes("a - 172.30.0.3", "b 10.244.1.0/24 172.30.0.4")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := base
			s.Nodes, s.Ports = tt.nodes, tt.ports
			golden.Check(t, "testdata/"+strings.ReplaceAll(tt.name, " ", "-")+".golden", Plan(s).String())
		})
	}
}

func TestMTU(t *testing.T) {
	state := hostnet.State{Addresses: []hostnet.Address{
		{Prefix: netip.MustParsePrefix("172.30.0.3/24"), MTU: 1450},
		{Prefix: netip.MustParsePrefix("fd00::3/64"), MTU: 9000},
		{Prefix: netip.MustParsePrefix("10.0.0.1/24"), MTU: 500},
	}}
	own := []netip.Addr{netip.MustParseAddr("fd00::3"), netip.MustParseAddr("172.30.0.3")}
	if got := mtu(state, own); got != 1450 {
		t.Errorf("got %d", got)
	}
	if got := mtu(state, nil); got != 1500 {
		t.Errorf("unknown addresses: got %d", got)
	}
}
