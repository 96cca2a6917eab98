package assemble

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
)

// A resolver on the loopback of another network namespace, such as systemd-resolved on the lab's
// host, is reached there over UDP and TCP and in both families, and only there.
func TestDialFrom(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	host, err := otherNamespace(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			return err
		}
		for _, at := range []string{"127.0.0.53:53", "[::1]:53"} {
			packets, err := net.ListenPacket("udp", at)
			if err != nil {
				return err
			}
			streams, err := net.Listen("tcp", at)
			if err != nil {
				return err
			}
			for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: streams}} {
				s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
					_ = w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeNameError))
				})
				done := make(chan struct{})
				go func() { defer close(done); _ = s.ActivateAndServe() }()
				t.Cleanup(func() { _, _ = packets.Close(), streams.Close(); <-done })
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dial := dialFrom(fmt.Sprintf("/proc/self/fd/%d", host.Fd()))
	for _, at := range []string{"127.0.0.53:53", "[::1]:53"} {
		for _, network := range []string{"udp", "tcp"} {
			conn, err := dial(t.Context(), network, at)
			if err != nil {
				t.Fatalf("%s %s: %v", network, at, err)
			}
			m, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetQuestion("example.com.", dns.TypeA), &dns.Conn{Conn: conn})
			if err != nil || m.Rcode != dns.RcodeNameError {
				t.Errorf("%s %s: %v, %v", network, at, m, err)
			}
			conn.Close()
		}
	}
	if conn, err := dialFrom("")(t.Context(), "tcp", "127.0.0.53:53"); err == nil {
		conn.Close()
		t.Skip("this machine has a resolver there, too")
	}
}

// otherNamespace makes a network namespace, runs fn in it, and returns it.
func otherNamespace(t *testing.T, fn func() error) (ns *os.File, err error) {
	t.Helper()
	err = hostnet.OnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = hostnet.Open()
		}
		if err == nil {
			err = fn()
		}
		return err
	})
	if ns != nil {
		t.Cleanup(func() { ns.Close() })
	}
	return ns, err
}
