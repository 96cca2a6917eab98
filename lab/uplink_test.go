package lab

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestTwoClusters(t *testing.T) {
	l, _ := newLab(t)
	parent := t.TempDir()
	yes := true
	a := up(t, l, Request{Name: "a", DataDir: filepath.Join(parent, "a"), Uplink: &yes})
	b := up(t, l, Request{Name: "a-net", DataDir: filepath.Join(parent, "b"), Uplink: &yes})
	if a.Settings.Port == b.Settings.Port {
		t.Error("both on port", a.Settings.Port)
	}
	if err := l.Down(t.Context(), "a", filepath.Join(parent, "a")); err != nil {
		t.Fatal(err)
	}
	if s := inspect(t, Request{Name: "a-net", DataDir: filepath.Join(parent, "b")}); s.Health != "ok" {
		t.Errorf("the other cluster after down: %+v", s)
	}
}

// TestUplink plays the world behind the host: a namespace that the host routes to.
func TestUplink(t *testing.T) {
	l, _ := newLab(t)
	before := machine(t)
	world := prefixes("192.0.2.1/24", "2001:db8::1/64")
	must(createNamespace("world"))
	must(playWorld(world))
	r := Request{Name: "uplink-of-a-long-name", DataDir: t.TempDir(), Uplink: new(bool)}
	*r.Uplink = true
	up(t, l, r)
	args, err := os.ReadFile(filepath.Join(r.DataDir, "args")) // of the fake server, which looks at the descriptor
	if err != nil || !strings.Contains(string(args), "--resolv-conf=/etc/resolv.conf\n--resolv-netns-fd=6") {
		t.Errorf("the server does not ask whom the host asks for names: %s, %v", args, err)
	}
	for _, w := range world {
		var seen string
		done := make(chan error, 1)
		listening := make(chan struct{})
		go func() {
			done <- within("world", func() error {
				s, err := net.Listen("tcp", netip.AddrPortFrom(w.Addr(), 80).String())
				close(listening)
				if err != nil {
					return err
				}
				defer s.Close()
				c, err := s.Accept()
				if err != nil {
					return err
				}
				seen, _, _ = net.SplitHostPort(c.RemoteAddr().String())
				return c.Close()
			})
		}()
		<-listening
		err := within(namespaceName(r.Name, memberControl), func() error {
			d := net.Dialer{Timeout: 5 * time.Second}
			c, err := d.DialContext(t.Context(), "tcp", netip.AddrPortFrom(w.Addr(), 80).String())
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if host := w.Addr().Next().String(); seen != host {
			t.Errorf("the world sees %s, want the host's own address %s", seen, host)
		}
	}
	must(l.Down(t.Context(), r.Name, r.DataDir))
	link, err := netlink.LinkByName("outside")
	if err != nil {
		t.Fatal(err)
	}
	must(netlink.LinkDel(link))
	must(deleteNamespace("world"))
	must(removeNetnsDir())
	if got := machine(t); got != before {
		t.Errorf("after down:\n%s\nbefore:\n%s", got, before)
	}
}

// playWorld joins the host and the world by a veth pair; the host has the addresses that follow.
func playWorld(world []netip.Prefix) error {
	ns, err := os.Open(filepath.Join(netnsDir, "world"))
	if err != nil {
		return err
	}
	defer ns.Close()
	err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "outside"}, PeerName: "inside", PeerNamespace: netlink.NsFd(int(ns.Fd()))})
	if err != nil {
		return err
	}
	var host []netip.Prefix
	for _, w := range world {
		host = append(host, netip.PrefixFrom(w.Addr().Next(), w.Bits()))
	}
	if err := setUp("outside", host); err != nil {
		return err
	}
	return within("world", func() error { return setUp("inside", world) })
}
