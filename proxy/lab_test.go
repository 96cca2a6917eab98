package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/sandbox"
)

// The lab of the kernel tests: this process is in the node's namespace, which has no default route.
//
//	pod1, pod2 ── duet0 ── node ── eth0 ── other (another node, with pod3 in its own range; and outside)
const (
	patience = 1500
	nodeName = "node0"
	otherPod = "10.244.1.2 fd00:10:244:1::2" // pod3, an address of the other node's
)

var (
	labPods = map[string]string{"pod1": "10.244.0.2 fd00:10:244::2", "pod2": "10.244.0.3 fd00:10:244::3"}
	nodeIPs = "172.30.0.3 fd00:172:30::3"
)

// buildLab makes it once for all tests.
func buildLab(t testing.TB) {
	t.Helper()
	sandbox.Need(t)
	bridge := hostnet.Bridge{Name: "duet0", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("10.244.0.1/24"), netip.MustParsePrefix("fd00:10:244::1/64")}}
	if err := bridge.Set(); err != nil {
		t.Fatal(err)
	}
	sandbox.IP(t, `
netns add other
link add eth0 type veth peer name eth0 netns other
link set eth0 up
addr add 172.30.0.3/24 dev eth0
addr add fd00:172:30::3/64 dev eth0 nodad
route add 10.244.1.0/24 via 172.30.0.4
-6 route add fd00:10:244:1::/64 via fd00:172:30::4
-n other link set lo up
-n other link set eth0 up
-n other addr add 172.30.0.4/24 dev eth0
-n other addr add fd00:172:30::4/64 dev eth0 nodad
-n other addr add 10.244.1.2/24 dev lo
-n other addr add fd00:10:244:1::2/64 dev lo nodad
-n other route add 10.96.0.0/16 via 172.30.0.3
-n other -6 route add fd00:10:96::/112 via fd00:172:30::3
-n other route add 10.244.0.0/24 via 172.30.0.3
-n other -6 route add fd00:10:244::/64 via fd00:172:30::3
-n other route add 172.31.0.0/24 via 172.30.0.3
-n other -6 route add fd00:172:31::/64 via fd00:172:30::3
`)
	for name, ips := range labPods {
		v4, v6, _ := strings.Cut(ips, " ")
		sandbox.IP(t, strings.ReplaceAll(fmt.Sprintf(`
netns add NAME
link add NAME type veth peer name eth0 netns NAME
link set NAME master duet0
link set NAME type bridge_slave hairpin on
link set NAME up
-n NAME link set lo up
-n NAME link set eth0 up
-n NAME addr add %s/24 dev eth0
-n NAME addr add %s/64 dev eth0 nodad
-n NAME route add default via 10.244.0.1
-n NAME -6 route add default via fd00:10:244::1
`, v4, v6), "NAME", name))
		checkSums(t, name)
	}
	checkSums(t, "eth0")
	for _, name := range []string{"net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"} {
		if err := hostnet.SetSysctl(name, "0"); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(hostnet.Forward(), hostnet.TranslateInBridges()); err != nil {
		t.Fatal(err)
	}
	for ns, ips := range labPods {
		serve(t, ns, ips)
	}
	serve(t, "other", otherPod)
}

func path(ns string) string {
	if ns == "node" {
		return ""
	}
	return "/run/netns/" + ns
}

// serve answers on TCP and UDP port 8080 of a namespace with its name and whom it sees.
func serve(t testing.TB, ns, ips string) {
	t.Helper()
	var listener net.Listener
	var packets []net.PacketConn
	err := hostnet.Within(path(ns), func() (err error) {
		if listener, err = net.Listen("tcp", ":8080"); err != nil {
			return err
		}
		for ip := range strings.FieldsSeq(ips) { // each by itself, to answer from it
			c, err := net.ListenPacket("udp", net.JoinHostPort(ip, "8080"))
			if err != nil {
				return err
			}
			packets = append(packets, c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = listener.Close()
		for _, c := range packets {
			_ = c.Close()
		}
	})
	answer := func(from net.Addr) string {
		a := netip.MustParseAddrPort(from.String())
		return ns + " " + a.Addr().Unmap().String() + "\n"
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, answer(c.RemoteAddr()))
			_ = c.Close()
		}
	}()
	for _, c := range packets {
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = c.WriteTo([]byte(answer(from)), from)
			}
		}()
	}
}

// call connects from a namespace and returns what it is told: "pod1 10.244.0.3", or "refused",
// "timeout".
func call(t testing.TB, ns, network, to string) string {
	t.Helper()
	return callFrom(t, ns, network, nil, to)
}

// callFrom does so from a port of the caller's choice.
func callFrom(t testing.TB, ns, network string, from net.Addr, to string) string {
	t.Helper()
	var said string
	err := hostnet.Within(path(ns), func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience*time.Millisecond)
		defer cancel()
		d := net.Dialer{LocalAddr: from}
		c, err := d.DialContext(ctx, network, to)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience * time.Millisecond))
		if network == "udp" {
			if _, err := io.WriteString(c, "hello"); err != nil {
				return err
			}
		}
		said, err = bufio.NewReader(c).ReadString('\n')
		return err
	})
	switch {
	case err == nil:
		return strings.TrimSpace(said)
	case strings.Contains(err.Error(), "refused"), strings.Contains(err.Error(), "not permitted"): // what sendto says
		return "refused"
	case strings.Contains(err.Error(), "timeout"), strings.Contains(err.Error(), "deadline"):
		return "timeout"
	}
	return err.Error()
}

// checkSums makes a link fill in checksums as a real one would, instead of leaving them to whoever
// sends the packet on, so that a wrong one is noticed.
func checkSums(t testing.TB, link string) {
	t.Helper()
	value := struct{ command, data uint32 }{command: unix.ETHTOOL_STXCSUM}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], link)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(s) }()
	if _, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); err != 0 {
		t.Fatal(link, err)
	}
}
