package proxy

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
	"github.com/duetk8s/duet/test/eventually"
)

// A UDP client that keeps its port goes over to the endpoints that there are now. Flows of others stay.
func testFlows(t *testing.T, c *cluster) {
	for _, a := range []string{"10.96.0.40:80 172.31.0.40:80 172.30.0.3:30040 10.96.0.41:80", "[fd00:10:96::40]:80 [fd00:172:31::40]:80 [fd00:172:30::3]:30040 [fd00:10:96::41]:80"} {
		all := strings.Fields(a)
		fronts, untouched := all[:3], all[3]
		ask := func(to string) string {
			name, _, _ := strings.Cut(callFrom(t, "other", "udp", &net.UDPAddr{Port: 5555}, to), " ")
			return name
		}
		tracked := func(to string) (found bool) {
			if err := hostnet.ForgetFlows(true, true, func(f hostnet.Flow) bool {
				found = found || f.Protocol == unix.IPPROTO_UDP && f.To.String() == to
				return false
			}); err != nil {
				t.Fatal(err)
			}
			return found
		}
		if got := ask(fronts[2]); got != "refused" { // and remembered as not translated
			t.Fatalf("%s: %s before there is a Service", fronts[2], got)
		}
		c.set(web("flows", "40", balanced(30040)), endpoints("flows", pod1))
		c.set(web("others", "41"), endpoints("others", pod1))
		eventually.Is(t, 30*time.Second, untouched, func() string { return ask(untouched) }, "pod1")
		for _, step := range []struct {
			want string
			list []string
		}{{"pod1", []string{pod1}}, {"pod2", []string{pod2}}, {"pod2", []string{pod2, pod1}}, {"pod1", []string{pod1}}} {
			c.set(web("flows", "40", balanced(30040)), endpoints("flows", step.list...))
			for _, to := range fronts {
				eventually.Is(t, 30*time.Second, to, func() string { return ask(to) }, step.want)
			}
		}
		for _, s := range endpoints("flows") {
			c.slices.Modify(s)
		}
		for _, to := range fronts {
			eventually.Is(t, 30*time.Second, to+" without endpoints", func() string { return ask(to) }, "refused")
		}
		if !tracked(untouched) {
			t.Errorf("the flow to %s is forgotten", untouched)
		}
		c.services.Delete(web("flows", "40"))
		wait(t, c)
	}
}

// willing is a table that takes everything.
type willing struct{ Table }

func (willing) Rebuild(nft.Schema, map[string][]nft.Element) error { return nil }
func (willing) Apply(nft.Changes) error                            { return nil }

// tracking is a host with flows, each "protocol to by"; read counts how often they were read.
type tracking struct {
	quietHost
	flows []string
	read  int
}

func (h *tracking) ForgetFlows(_, _ bool, match func(hostnet.Flow) bool) error {
	h.read++
	h.flows = slices.DeleteFunc(h.flows, func(text string) bool {
		f := strings.Fields(text)
		protocol := map[string]uint8{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}[f[0]]
		return match(hostnet.Flow{Protocol: protocol, To: netip.MustParseAddrPort(f[1]), By: netip.MustParseAddrPort(f[2])})
	})
	return nil
}

// Flows are read where there may be wrong ones, and only there: not for the first endpoint of a
// ClusterIP in a range where nothing got through before.
func TestClosedRanges(t *testing.T) {
	host := &tracking{}
	p, err := New(newDeps(), Config{Node: nodeName, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	p.table = willing{}
	step := func(name, want string, flows ...string) {
		t.Helper()
		host.flows, host.read = flows, 0
		if err := p.sync(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		select {
		case <-p.flows.ready:
			wrong, closed := p.flows.take()
			if err := p.flows.clear(wrong, closed); err != nil {
				t.Fatal(name, err)
			}
		default:
		}
		got := strings.Join(host.flows, ", ")
		if host.read == 0 {
			got = "not read"
		}
		if got != want {
			t.Errorf("%s: flows left are %q, want %q", name, got, want)
		}
	}
	service := func(svc *corev1.Service, addresses ...string) {
		store(p.deps.Services, svc, true)
		for _, e := range endpoints(svc.Name, addresses...) {
			store(p.deps.EndpointSlices, e, true)
		}
		p.mark("default/" + svc.Name)
	}
	const (
		before4, before6 = "udp 10.96.0.40:80 10.96.0.40:80", "udp [fd00:10:96::40]:80 [fd00:10:96::40]:80"
		other, tcp       = "udp 10.97.0.40:80 10.97.0.40:80", "tcp 10.96.0.40:80 10.96.0.40:80"
		late4, late6     = "udp 10.96.0.40:80 10.244.0.2:80", "udp [fd00:10:96::40]:80 [fd00:10:244::2]:80"
	)
	service(web("early", "40"), pod1)
	step("an endpoint before the ranges are known", other+", "+tcp, before4, before6, other, tcp)
	store(p.deps.ServiceCIDRs, &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16", "fd00:10:96::/112"}},
	}, true)
	p.markWide()
	step("the ranges", other+", "+tcp+", "+late4+", "+late6, before4, before6, other, tcp, late4, late6)
	service(web("web", "41"), pod1)
	step("the first endpoint", "not read", before4)
	service(web("web", "41"), pod2)
	step("another one", "", "udp 10.96.0.41:80 10.244.0.2:80", "udp [fd00:10:96::41]:80 [fd00:10:244::2]:80")
	service(web("outside", "42", balanced(30042)), pod1)
	step("a balancer and a node port", "", "udp 172.31.0.42:80 172.31.0.42:80", "udp [fd00:172:30::3]:30042 [fd00:172:30::3]:30042")
	p.stale = true
	step("the table was lost", late4, before4, late4)
	step("and is there again", "not read", before4)
}
