package neighbor

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/sandbox"
)

// ear notes what a link hears.
type ear chan string

func (e ear) Beat(payload []byte)     { e <- "beat " + strings.TrimRight(string(payload), "\x00") }
func (e ear) Claimed(addr netip.Addr) { e <- "claimed " + addr.String() }

func (e ear) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-e:
		if got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("heard nothing, want %q", want)
	}
}

// open opens eth0 of a namespace and runs it until the test ends.
func open(t *testing.T, ns string, e ear) *Link {
	t.Helper()
	var l *Link
	if err := hostnet.Within("/run/netns/"+ns, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err == nil {
			l, err = Open(ifi.Index, e)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	background.Run(t, nil, l.Run)
	return l
}

// street is a bridge with a client and two nodes.
func street(t *testing.T) {
	t.Helper()
	sandbox.Need(t)
	sandbox.IP(t, "link add br0 type bridge\nlink set br0 up")
	for i, name := range []string{"client", "node1", "node2"} {
		n := string(rune('1' + i))
		sandbox.IP(t, strings.ReplaceAll(strings.ReplaceAll(`
netns add NAME
link add NAME type veth peer name eth0 netns NAME
link set NAME master br0
link set NAME up
-n NAME link set eth0 address 02:00:00:00:00:0N
-n NAME link set lo up
-n NAME link set eth0 up
-n NAME addr add 172.30.0.N/24 dev eth0
-n NAME addr add fd00:172:30::N/64 dev eth0 nodad`, "NAME", name), "N", n))
	}
	t.Cleanup(func() {
		for _, name := range []string{"client", "node1", "node2"} {
			sandbox.IP(t, "link del "+name+"\nnetns del "+name)
		}
		sandbox.IP(t, "link del br0")
	})
}

// asks has the client's kernel look for an address, and returns the hardware address that it found.
func asks(t *testing.T, addr string) string {
	t.Helper()
	if err := hostnet.Within("/run/netns/client", func() error {
		c, err := net.Dial("udp", net.JoinHostPort(addr, "9"))
		if err == nil {
			_, err = c.Write([]byte{0})
			_ = c.Close()
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	at := ""
	eventually.True(t, 10*time.Second, "it is known who has "+addr, func() bool {
		f := strings.Fields(sandbox.Run(t, "ip", "-n", "client", "neigh", "show", addr))
		switch {
		case len(f) > 4 && f[3] == "lladdr":
			at = f[4]
		case len(f) > 3 && f[len(f)-1] == "FAILED":
			at = "nobody"
		}
		return at != ""
	})
	return at
}

func TestLink(t *testing.T) {
	street(t)
	vips := []string{"172.30.0.192", "fd00:172:30::f000"}
	ear1, ear2 := make(ear, 100), make(ear, 100)
	one, two := open(t, "node1", ear1), open(t, "node2", ear2)
	all := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	set := func(l *Link, list ...string) {
		t.Helper()
		if err := l.Answer(all(list...)); err != nil {
			t.Fatal(err)
		}
	}
	set(one, append(vips, "172.30.0.193")...)
	for _, vip := range vips {
		if got := asks(t, vip); got != "02:00:00:00:00:02" {
			t.Errorf("%s is at %q", vip, got)
		}
	}
	if got := sandbox.Run(t, "ip", "-n", "node1", "maddr", "show", "dev", "eth0"); !strings.Contains(got, "ff02::1:ff00:f000") {
		t.Errorf("the group of questions was not joined:\n%s", got)
	}
	if got := sandbox.Run(t, "ip", "-n", "node1", "addr", "show"); strings.Contains(got, "172.30.0.192") || strings.Contains(got, "f000") {
		t.Errorf("the machine has the address:\n%s", got)
	}

	// The other takes over: the client goes there at once, and the first hears of it.
	set(two, vips...)
	for _, a := range all(vips...) {
		if err := two.Announce(a); err != nil {
			t.Error(err)
		}
		ear1.hears(t, "claimed "+a.String())
	}
	set(one)
	for _, vip := range vips {
		if got := asks(t, vip); got != "02:00:00:00:00:03" {
			t.Errorf("after the change, %s is at %q", vip, got)
		}
	}
	if got := sandbox.Run(t, "ip", "-n", "node1", "maddr", "show", "dev", "eth0"); strings.Contains(got, "ff02::1:ff00:f000") {
		t.Errorf("the group of questions was not left:\n%s", got)
	}
	if got := asks(t, "172.30.0.193"); got != "nobody" {
		t.Errorf("172.30.0.193, which is nobody's, is at %q", got)
	}

	if err := one.Beat([]byte("hello")); err != nil {
		t.Error(err)
	}
	ear2.hears(t, "beat hello")
	sandbox.IP(t, "-n node2 link set eth0 down\n-n node2 link set eth0 up")
	eventually.True(t, 10*time.Second, "the bridge forwards beats again", func() bool {
		if err := one.Beat([]byte("again")); err != nil {
			t.Error(err)
		}
		return len(ear2) > 0
	})
	ear2.hears(t, "beat again")
}

// A link that goes away ends its Run.
func TestLost(t *testing.T) {
	street(t)
	l := open(t, "node1", make(ear, 100))
	l.Close()
	if err := l.Beat(nil); err == nil {
		t.Error("a closed link beats")
	}
	if err := l.Answer([]netip.Addr{netip.MustParseAddr("fd00::1")}); err != nil {
		t.Error(err)
	}
}
