package streams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
)

// swallowing makes a network namespace with a way out that leads nowhere: who dials beyond loopback never
// gets an answer.
func swallowing(t *testing.T) (path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	var ns *os.File
	err := hostnet.OnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if ns, err = hostnet.Open(); err != nil {
			return err
		}
		out := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "out"}, PeerName: "end"}
		if err = netlink.LinkAdd(out); err != nil {
			return err
		}
		end, err := netlink.LinkByName("end")
		if err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, text := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
			address, err := netlink.ParseAddr(text)
			if err == nil {
				address.Flags = unix.IFA_F_NODAD
				err = netlink.AddrAdd(out, address)
			}
			if err != nil {
				return err
			}
		}
		if err = errors.Join(netlink.LinkSetUp(lo), netlink.LinkSetUp(out), netlink.LinkSetUp(end)); err != nil {
			return err
		}
		for _, silent := range []string{"192.0.2.2", "2001:db8::2"} { // known, or the kernel would soon give up
			err = netlink.NeighSet(&netlink.Neigh{
				LinkIndex: out.Index, IP: net.ParseIP(silent), HardwareAddr: end.Attrs().HardwareAddr, State: netlink.NUD_PERMANENT,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
}

// The other family's address is tried while the first one's is silent, not when its time is over.
func TestDial(t *testing.T) {
	namespace := swallowing(t)
	for _, test := range []struct {
		name   string
		first  string
		listen string // "": nobody
	}{
		{"IPv4 silent", "192.0.2.2", "::1"},
		{"IPv6 silent", "2001:db8::2", "127.0.0.1"},
		{"IPv4 refused", "127.0.0.1", "::1"},
		{"IPv6 refused", "::1", "127.0.0.1"},
		{"the only one", "", "::1"},
		{"nobody", "::1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := uint16(80)
			var to []netip.AddrPort
			if test.listen != "" {
				var listener net.Listener
				err := hostnet.Within(namespace, func() (err error) {
					listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(test.listen, "0"))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				port = listener.Addr().(*net.TCPAddr).AddrPort().Port()
				to = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(test.listen), port)}
			}
			if test.first != "" {
				to = append([]netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(test.first), port)}, to...)
			}
			// Long after another address's turn, long before the first one's time is over.
			ctx, cancel := context.WithTimeout(t.Context(), connectTimeout-time.Second)
			defer cancel()
			conn, err := dial(ctx, namespace, to)
			if (err == nil) != (test.listen != "") {
				t.Fatal(conn, err)
			}
			if err == nil {
				if got := conn.RemoteAddr().String(); got != to[len(to)-1].String() {
					t.Errorf("connected to %s", got)
				}
				conn.Close()
			}
		})
	}
}
