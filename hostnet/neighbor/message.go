package neighbor

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// message is what ARP and neighbour discovery have in common.
type message struct {
	// Asks for the target's hardware address; else says it.
	Asks bool
	// Target is the address that it is about.
	Target netip.Addr
	// From is the sender's address; unspecified or invalid if it only wants to know whether the
	// target is taken.
	From netip.Addr
	// Station is the hardware address that the sender gives.
	Station net.HardwareAddr
}

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	etherBeat = 0x88b5

	arpRequest, arpReply = 1, 2

	icmp6Solicit, icmp6Advertise      = 135, 136
	optionSource, optionTarget        = 1, 2
	flagSolicited, flagOverride  byte = 0x40, 0x20

	protocolICMP6 = 58
	headerIPv6    = 40
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	// allStations is ff02::1 as a hardware address.
	allStations = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	// beatGroup is locally administered.
	beatGroup = net.HardwareAddr{0x03, 'd', 'u', 'e', 't', 0}

	allNodes = netip.MustParseAddr("ff02::1")
)

// readARP reads what follows the Ethernet header.
func readARP(p []byte) (m message, ok bool) {
	if len(p) < 28 || !bytes.Equal(p[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return m, false
	}
	op := binary.BigEndian.Uint16(p[6:])
	if op != arpRequest && op != arpReply {
		return m, false
	}
	from, _ := netip.AddrFromSlice(p[14:18])
	target, _ := netip.AddrFromSlice(p[24:28])
	m = message{Asks: op == arpRequest, Target: target, From: from, Station: bytes.Clone(p[8:14])}
	if from == target || !m.Asks { // about itself: RFC 5227 says it as a question
		m.Asks, m.Target = false, from
	}
	return m, true
}

// arp says that station has target, to somebody who asked, or to everybody by an announcement
// (RFC 5227, section 3).
func arp(target netip.Addr, station net.HardwareAddr, to message) (frame []byte, at net.HardwareAddr) {
	op, at, other := arpReply, to.Station, to.From
	if to.Station == nil {
		op, at, other = arpRequest, broadcast, target
	}
	frame = append(frame, 0, 1, 8, 0, 6, 4, 0, byte(op))
	frame = append(append(frame, station...), target.AsSlice()...)
	if to.Station == nil {
		frame = append(frame, make([]byte, 6)...)
	} else {
		frame = append(frame, at...)
	}
	return append(frame, other.AsSlice()...), at
}

// readNDP reads an IPv6 packet.
func readNDP(p []byte) (m message, ok bool) {
	if len(p) < headerIPv6+24 || p[0]>>4 != 6 || p[6] != protocolICMP6 || p[7] != 255 {
		return m, false
	}
	size := int(binary.BigEndian.Uint16(p[4:]))
	if size < 24 || len(p) < headerIPv6+size {
		return m, false
	}
	p = p[:headerIPv6+size]
	body := p[headerIPv6:]
	if (body[0] != icmp6Solicit && body[0] != icmp6Advertise) || body[1] != 0 || checksum(p) != 0 {
		return m, false
	}
	m.Asks = body[0] == icmp6Solicit
	m.Target, _ = netip.AddrFromSlice(body[8:24])
	m.From, _ = netip.AddrFromSlice(p[8:24])
	want := byte(optionTarget)
	if m.Asks {
		want = optionSource
	}
	for o := body[24:]; len(o) > 0; o = o[8*int(o[1]):] {
		if len(o) < 8 || o[1] == 0 || len(o) < 8*int(o[1]) {
			return m, false
		}
		if o[0] == want {
			m.Station = bytes.Clone(o[2:8])
		}
	}
	return m, !m.Target.IsMulticast()
}

// advertisement says that station has target, to somebody who asked, or to all nodes.
func advertisement(target netip.Addr, station net.HardwareAddr, to message) (packet []byte, at net.HardwareAddr) {
	flags, at, other := flagOverride|flagSolicited, to.Station, to.From
	if to.Station == nil || to.From.IsUnspecified() {
		flags, at, other = flagOverride, allStations, allNodes
	}
	packet = append(packet, 0x60, 0, 0, 0, 0, 32, protocolICMP6, 255)
	packet = append(append(packet, target.AsSlice()...), other.AsSlice()...)
	packet = append(packet, icmp6Advertise, 0, 0, 0, flags, 0, 0, 0)
	packet = append(append(packet, target.AsSlice()...), optionTarget, 1)
	packet = append(packet, station...)
	binary.BigEndian.PutUint16(packet[headerIPv6+2:], checksum(packet))
	return packet, at
}

// checksum of an ICMPv6 packet with its pseudo header; 0 if the packet has it already.
func checksum(p []byte) uint16 {
	sum := uint32(len(p)-headerIPv6) + protocolICMP6 //nolint:gosec // a frame's
	for part := p[8:]; len(part) > 0; part = part[2:] {
		if len(part) == 1 {
			sum += uint32(part[0]) << 8
			break
		}
		sum += uint32(binary.BigEndian.Uint16(part))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum) //nolint:gosec // folded
}
