package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
)

// A Pod that forges the addresses that stand in for loopback gets nothing to what listens there only.
func testForged(t *testing.T) {
	gate, err := net.InterfaceByName("duet0")
	if err != nil {
		t.Fatal(err)
	}
	for f, gateway := range map[dualstack.Family]string{dualstack.IPv4: "10.244.0.1", dualstack.IPv6: "fd00:10:244::1"} {
		own, standIn := hostnet.StandInOf(f).For, hostnet.StandInOf(f).Addr
		private, public := listenUDP(t, own), listenUDP(t, netip.MustParseAddr(gateway))
		if err := hostnet.Within(path("pod1"), func() error {
			at := netip.AddrPortFrom(standIn, private.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			if err := forge(f, at, "forged", gate.HardwareAddr); err != nil {
				return err
			}
			return send(public.LocalAddr().String(), "behind it")
		}); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		if n, _, err := public.ReadFrom(buffer); err != nil || string(buffer[:n]) != "behind it" {
			t.Fatalf("%s: got %q, %v", f, buffer[:n], err)
		}
		if err := send(private.LocalAddr().String(), "own"); err != nil {
			t.Fatal(err)
		}
		if n, from, err := private.ReadFrom(buffer); err != nil || string(buffer[:n]) != "own" {
			t.Errorf("%s: got %q from %s, %v", f, buffer[:n], from, err)
		}
	}
}

func listenUDP(t *testing.T, at netip.Addr) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(to, text string) error {
	c, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(text))
	return err
}

// forge sends a datagram from an address to itself out of eth0.
func forge(f dualstack.Family, at netip.AddrPort, text string, to net.HardwareAddr) error {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	datagram := binary.BigEndian.AppendUint16(nil, 1234)
	datagram = binary.BigEndian.AppendUint16(datagram, at.Port())
	datagram = binary.BigEndian.AppendUint16(datagram, uint16(8+len(text)))
	datagram = append(append(datagram, 0, 0), text...)
	addr := at.Addr().AsSlice()
	pseudo := append(append([]byte{0, unix.IPPROTO_UDP, 0, byte(len(datagram))}, addr...), addr...)
	binary.BigEndian.PutUint16(datagram[6:], sum(append(pseudo, datagram...)))
	header, proto := []byte{0x60, 0, 0, 0, 0, byte(len(datagram)), unix.IPPROTO_UDP, 64}, unix.ETH_P_IPV6
	if f == dualstack.IPv4 {
		header, proto = []byte{0x45, 0, 0, byte(20 + len(datagram)), 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}, unix.ETH_P_IP
		binary.BigEndian.PutUint16(header[10:], sum(append(append(header[:12:12], addr...), addr...)))
	}
	c, err := packet.Listen(ifi, packet.Datagram, proto, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo(append(append(append(header, addr...), addr...), datagram...), &packet.Addr{HardwareAddr: to})
	return err
}

// sum is the checksum of the Internet protocols.
func sum(p []byte) uint16 {
	var s uint32
	for len(p)%2 != 0 {
		p = append(p, 0)
	}
	for ; len(p) > 0; p = p[2:] {
		s += uint32(binary.BigEndian.Uint16(p))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// What listens at another loopback address is reached there, also at the port of a Service.
func testOtherLoopback(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.5:30004")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "own 127.0.0.5\n")
			_ = c.Close()
		}
	}()
	if got := call(t, "node", "tcp", "127.0.0.5:30004"); got != "own 127.0.0.5" {
		t.Errorf("got %q", got)
	}
}
