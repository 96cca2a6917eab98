package proxy

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/sandbox"
)

// Whatever somebody else does to the table is noticed and repaired.
func testRepair(t *testing.T, c *cluster) {
	c.set(web("again", "22", balanced(30022, "172.30.0.4/32", "fd00:172:30::4/128")), endpoints("again", pod1, pod2))
	c.set(web("stays", "20", balanced(30020), stickyFor(600)), endpoints("stays", pod1, pod2))
	wait(t, c)
	list := func() string {
		out, _ := exec.CommandContext(t.Context(), "nft", "-s", "list", "table", "inet", TableName).Output()
		return strings.Join(slices.DeleteFunc(strings.Split(inOrder(string(out)), "\n\n"), func(block string) bool {
			return strings.Contains(block, "map clients-ipv") && !strings.Contains(block, "chain") // they come back by themselves
		}), "\n\n")
	}
	whole := list()
	for _, damage := range []string{
		"flush ruleset",
		"delete table inet duet-proxy",
		"flush table inet duet-proxy",
		"flush chain inet duet-proxy postrouting",
		"add rule inet duet-proxy refuse drop",
		"insert rule inet duet-proxy prerouting drop",
		"add chain inet duet-proxy more { type filter hook input priority 0; policy drop; }",
		"delete element inet duet-proxy services-ipv4 { 10.96.0.22 . tcp . 80 }",
		"delete element inet duet-proxy services-ipv6 { fd00:10:96::22 . tcp . 80 }; add element inet duet-proxy services-ipv6 { fd00:10:96::22 . tcp . 80 : ffe0:0 }",
		"add element inet duet-proxy nodeports-ipv4 { udp . 31234 : ffe0:0 }",
		"flush map inet duet-proxy endpoints-ipv6",
		"flush map inet duet-proxy classes-ipv4",
		"flush set inet duet-proxy pods-ipv4",
		"flush set inet duet-proxy service-cidrs-ipv6; add element inet duet-proxy service-cidrs-ipv6 { fd00::/16 }",
		"flush set inet duet-proxy " + sourceName(dualstack.IPv4, "172.30.0.4/32"),
	} {
		sandbox.Run(t, "nft", damage)
		eventually.Is(t, 30*time.Second, "repaired after "+damage, list, whole)
		for _, to := range []string{"10.96.0.22:80", "[fd00:10:96::22]:80", "172.31.0.22:80"} {
			if got, _, _ := strings.Cut(call(t, "other", "tcp", to), " "); got != "pod1" && got != "pod2" {
				t.Errorf("%s after %s: got %q", to, damage, got)
			}
		}
	}
	c.table.failed.Store(0)
}

// A look at the table that somebody else's changes of nftables disturb is taken again, and so is one
// that a change of the table comes in the middle of. Neither is a reason to replace the table, and with
// it what it knows of clients.
func TestDisturbed(t *testing.T) {
	sandbox.Need(t)
	c := newCluster(t, Config{})
	wait(t, c)
	for name, disturb := range map[string]func() (bool, error){
		"interrupted": func() (bool, error) { return false, unix.EINTR },
		"changed": func() (bool, error) {
			c.proxy.markTaken()
			time.Sleep(20 * time.Millisecond) // the longer a look takes the longer the rest after it
			return true, nil
		},
	} {
		before, looks := c.table.writes.Load(), 0
		again := make(chan struct{})
		look := func() (bool, error) {
			if looks++; looks == 1 {
				return disturb()
			}
			if looks == 2 {
				close(again)
			}
			return true, nil
		}
		c.table.intact.Store(&look)
		c.proxy.markTaken()
		select {
		case <-again:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: nobody looks again", name)
		}
		if now := c.table.writes.Load(); now != before {
			t.Errorf("%s: the table was replaced", name)
		}
	}
}
