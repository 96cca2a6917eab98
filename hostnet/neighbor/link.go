package neighbor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Hearer is told what happens on the link. It must return soon.
type Hearer interface {
	// Beat of another machine; the slice is the callee's.
	Beat(payload []byte)
	// Claimed is called when another station says that it has an address that is answered for here.
	Claimed(addr netip.Addr)
}

// Link is an open link. Close it after Run has returned.
type Link struct {
	Name  string
	Index int
	// Station is the hardware address that is given in answers.
	Station net.HardwareAddr

	hearer           Hearer
	arp, ipv6, beats *packet.Conn
	groups           int // the socket that has joined the groups of the addresses

	mu      sync.Mutex
	closed  bool
	answers map[netip.Addr]bool
}

// solicitations lets neighbour solicitations and advertisements pass, of packets without Ethernet
// header.
var solicitations = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 6, Size: 1},
	bpf.JumpIf{Val: protocolICMP6, SkipFalse: 4},
	bpf.LoadAbsolute{Off: headerIPv6, Size: 1},
	bpf.JumpIf{Val: icmp6Solicit, SkipTrue: 1},
	bpf.JumpIf{Val: icmp6Advertise, SkipFalse: 1},
	bpf.RetConstant{Val: 1500},
	bpf.RetConstant{Val: 0},
}

// Open opens a link of the calling thread's network namespace. It must be up, and Ethernet.
func Open(index int, hearer Hearer) (*Link, error) {
	ifi, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("open link %d: %w", index, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("open link %s: no Ethernet", ifi.Name)
	}
	filter, err := bpf.Assemble(solicitations)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	l := &Link{Name: ifi.Name, Index: index, Station: ifi.HardwareAddr, hearer: hearer, groups: -1, answers: map[netip.Addr]bool{}}
	for _, s := range []struct {
		conn   **packet.Conn
		proto  int
		filter []bpf.RawInstruction
	}{{&l.arp, etherARP, nil}, {&l.ipv6, etherIPv6, filter}, {&l.beats, etherBeat, nil}} {
		if *s.conn, err = packet.Listen(ifi, packet.Datagram, s.proto, &packet.Config{Filter: s.filter}); err != nil {
			l.Close()
			return nil, fmt.Errorf("open link %s: %w", ifi.Name, err)
		}
	}
	if err := l.beats.JoinGroup(beatGroup); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen for beats on %s: %w", ifi.Name, err)
	}
	// A kernel without IPv6 has no such socket, and no need of it.
	l.groups, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		l.Close()
		return nil, fmt.Errorf("open link %s: %w", ifi.Name, err)
	}
	return l, nil
}

// Close ends all answers, and Run.
func (l *Link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for _, c := range []*packet.Conn{l.arp, l.ipv6, l.beats} {
		if c != nil {
			_ = c.Close()
		}
	}
	if l.groups >= 0 {
		_ = unix.Close(l.groups)
		l.groups = -1
	}
}

func (l *Link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Run hears and answers until ctx ends, the link is closed, or the error that it returns.
func (l *Link) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.Close)()
	var group sync.WaitGroup
	errs := make([]error, 3)
	for i, r := range []struct {
		conn *packet.Conn
		take func([]byte)
	}{{l.arp, l.heardARP}, {l.ipv6, l.heardNDP}, {l.beats, l.heardBeat}} {
		group.Go(func() {
			errs[i] = l.receive(r.conn, r.take)
			l.Close()
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

func (l *Link) receive(c *packet.Conn, take func([]byte)) error {
	buffer := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buffer)
		switch {
		case err == nil:
			take(buffer[:n])
		case l.isClosed():
			return nil
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENOBUFS): // said once; it may come up again
		default:
			return fmt.Errorf("receive: %w", err)
		}
	}
}

func (l *Link) heardARP(p []byte)  { l.heard(readARP(p)) }
func (l *Link) heardNDP(p []byte)  { l.heard(readNDP(p)) }
func (l *Link) heardBeat(p []byte) { l.hearer.Beat(bytes.Clone(p)) }

func (l *Link) heard(m message, ok bool) {
	if !ok || bytes.Equal(m.Station, l.Station) {
		return
	}
	l.mu.Lock()
	ours := l.answers[m.Target]
	l.mu.Unlock()
	switch {
	case !ours:
	case !m.Asks:
		l.hearer.Claimed(m.Target)
	case m.Station == nil && !m.From.IsUnspecified():
		// A solicitation to us alone need not say where it is from (RFC 4861, 4.3): everybody is told.
		_ = l.Announce(m.Target)
	default:
		_ = l.say(m.Target, m) // who gets no answer asks again
	}
}

// Answer makes the link answer for these addresses and no others. Nothing is announced. On an error
// it answers all the same, but switches may keep IPv6 questions from getting here.
func (l *Link) Answer(addrs []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	want := make(map[netip.Addr]bool, len(addrs))
	groups := map[netip.Addr]int{} // how many addresses of each group come or, negative, go
	for _, a := range addrs {
		want[a] = true
		if !l.answers[a] {
			groups[solicited(a)]++
		}
	}
	left := map[netip.Addr]bool{}
	for a := range want {
		left[solicited(a)] = true
	}
	var errs []error
	for g := range groups {
		if g.IsValid() {
			errs = append(errs, l.join(unix.IPV6_JOIN_GROUP, g))
		}
	}
	for a := range l.answers {
		if g := solicited(a); g.IsValid() && !left[g] {
			left[g] = true // once
			errs = append(errs, l.join(unix.IPV6_LEAVE_GROUP, g))
		}
	}
	l.answers = want
	return errors.Join(errs...)
}

// join joins or leaves a group; twice is no error.
func (l *Link) join(option int, group netip.Addr) error {
	if l.groups < 0 {
		return nil
	}
	err := unix.SetsockoptIPv6Mreq(l.groups, unix.IPPROTO_IPV6, option, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(l.Index)}) //nolint:gosec // an index
	if err == nil || errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return fmt.Errorf("listen for questions to %s on %s: %w", group, l.Name, err)
}

// solicited is the group that is asked for an address (RFC 4291, 2.7.1); none in IPv4.
func solicited(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return netip.Addr{}
	}
	b, tail := netip.MustParseAddr("ff02::1:ff00:0").As16(), a.As16()
	copy(b[13:], tail[13:])
	return netip.AddrFrom16(b)
}

// Announce tells everybody on the link that the address is here.
func (l *Link) Announce(addr netip.Addr) error { return l.say(addr, message{}) }

// say answers somebody, or tells everybody.
func (l *Link) say(addr netip.Addr, to message) error {
	conn, write := l.ipv6, advertisement
	if addr.Is4() {
		conn, write = l.arp, arp
	}
	frame, at := write(addr, l.Station, to)
	if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: at}); err != nil {
		return fmt.Errorf("announce %s on %s: %w", addr, l.Name, err)
	}
	return nil
}

// Beat sends a sign of life to the other machines that have the link open.
func (l *Link) Beat(payload []byte) error {
	if _, err := l.beats.WriteTo(payload, &packet.Addr{HardwareAddr: beatGroup}); err != nil {
		return fmt.Errorf("beat on %s: %w", l.Name, err)
	}
	return nil
}
