package proxy

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
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
