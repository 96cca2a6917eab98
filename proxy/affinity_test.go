package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/sandbox"
)

// A client stays with its endpoint on all addresses of a port, until the endpoint is gone.
func testAffinity(t *testing.T, c *cluster) {
	c.set(web("stays", "20", balanced(30020), stickyFor(600)), endpoints("stays", pod1, pod2))
	wait(t, c)
	for _, f := range []struct{ clusterIP, balancer string }{{"10.96.0.20:80", "172.31.0.20:80"}, {"[fd00:10:96::20]:80", "[fd00:172:31::20]:80"}} {
		name := func() string {
			first, _, _ := strings.Cut(call(t, "other", "tcp", f.clusterIP), " ")
			for i := range 12 {
				to := f.clusterIP
				if i%2 == 0 {
					to = f.balancer
				}
				if now, _, _ := strings.Cut(call(t, "other", "tcp", to), " "); now != first {
					t.Errorf("%s: %s after %s", to, now, first)
				}
			}
			return first
		}
		first := name()
		rest, want := pod1, "pod1"
		if first == "pod1" {
			rest, want = pod2, "pod2"
		}
		c.set(web("stays", "20", balanced(30020), stickyFor(600)), endpoints("stays", rest))
		wait(t, c)
		if now := name(); now != want {
			t.Errorf("%s after %s has gone", now, first)
		}
		c.set(web("stays", "20", balanced(30020), stickyFor(600)), endpoints("stays", pod1, pod2))
		wait(t, c)
		if now := name(); now != want {
			t.Errorf("%s, though %s has not gone", now, want)
		}
	}
}

// A client is forgotten when it has not come for so long.
func testAffinityEnds(t *testing.T, c *cluster) {
	c.set(web("leaves", "23", stickyFor(1)), endpoints("leaves", pod1, pod2))
	wait(t, c)
	for set, to := range map[string]string{"clients-ipv4": "10.96.0.23:80", "clients-ipv6": "[fd00:10:96::23]:80"} {
		remembered := func() string {
			var lines []string
			for line := range strings.Lines(sandbox.Run(t, "nft", "list", "map", "inet", TableName, set)) {
				if strings.Contains(line, "timeout 1s") {
					lines = append(lines, line)
				}
			}
			return strings.Join(lines, "")
		}
		first := call(t, "other", "tcp", to)
		if remembered() == "" {
			t.Errorf("%s after %s: no client", set, first)
		}
		eventually.Is(t, 30*time.Second, set+" forgets", remembered, "")
		if got, _, _ := strings.Cut(call(t, "other", "tcp", to), " "); got != "pod1" && got != "pod2" {
			t.Errorf("%s: got %q", to, got)
		}
	}
}
