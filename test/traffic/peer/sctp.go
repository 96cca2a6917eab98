package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// SCTP here is the first exchange of an association (RFC 9260, 5.1), written by hand, because not
// every kernel has sockets for it: INIT goes out, INIT ACK comes back with a cookie, and the cookie is
// the answer. That is what conntrack and NAT need to see.
const (
	chunkInit    = 1
	chunkInitAck = 2
	cookieParam  = 7
)

// packet of one chunk INIT or INIT ACK:
//
//	source port, destination port, tag, checksum | type, flags, length | tag, window, streams, TSN | parameter
type packet struct {
	from, to uint16
	tag      uint32 // of the receiver; 0 in INIT
	kind     byte
	ownTag   uint32
	cookie   string
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p packet) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, p.from)
	b = binary.BigEndian.AppendUint16(b, p.to)
	b = binary.BigEndian.AppendUint32(b, p.tag)
	b = append(b, 0, 0, 0, 0)
	chunk := []byte{p.kind, 0, 0, 0}
	chunk = binary.BigEndian.AppendUint32(chunk, p.ownTag)
	chunk = binary.BigEndian.AppendUint32(chunk, 1<<16)    // window
	chunk = append(chunk, 0, 1, 0, 1)                      // streams
	chunk = binary.BigEndian.AppendUint32(chunk, p.ownTag) // first TSN
	if p.cookie != "" {
		chunk = append(chunk, 0, cookieParam)
		chunk = binary.BigEndian.AppendUint16(chunk, uint16(4+len(p.cookie))) //nolint:gosec // short
		chunk = append(chunk, p.cookie...)
	}
	binary.BigEndian.PutUint16(chunk[2:], uint16(len(chunk))) //nolint:gosec // short
	chunk = append(chunk, make([]byte, -len(chunk)&3)...)
	b = append(b, chunk...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

// parse reads what bytes writes; anything else is an error.
func parse(b []byte) (p packet, err error) {
	if len(b) < 32 || b[12] != chunkInit && b[12] != chunkInitAck {
		return p, errors.New("not the beginning of an association")
	}
	sum := binary.LittleEndian.Uint32(b[8:])
	b = bytes.Clone(b)
	clear(b[8:12])
	if crc32.Checksum(b, castagnoli) != sum {
		return p, errors.New("wrong checksum")
	}
	p = packet{
		from: binary.BigEndian.Uint16(b), to: binary.BigEndian.Uint16(b[2:]), tag: binary.BigEndian.Uint32(b[4:]),
		kind: b[12], ownTag: binary.BigEndian.Uint32(b[16:]),
	}
	if rest := b[32:]; len(rest) > 4 && rest[1] == cookieParam {
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if n > len(rest) {
			return p, errors.New("cut off")
		}
		p.cookie = string(rest[4:n])
	}
	return p, nil
}

// payload of a raw packet, which in IPv4 comes with its header.
func payload(b []byte, v4 bool) []byte {
	if v4 && len(b) > 20 {
		return b[int(b[0]&15)*4:]
	}
	return b
}

func serveSCTP(name, address, port string) error {
	own, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("ip:132", address)
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b) // of IPv4 it takes the header off
			if err != nil {
				continue
			}
			p, err := parse(b[:n])
			if err != nil || p.kind != chunkInit || p.to != uint16(own) {
				continue
			}
			reply := packet{from: p.to, to: p.from, tag: p.ownTag, kind: chunkInitAck, ownTag: rand.Uint32(), cookie: name + " " + from.String()}
			_, _ = conn.WriteTo(reply.bytes(), from)
		}
	}()
	return nil
}

// callSCTP begins an association and returns the cookie.
func callSCTP(family, at string, wait time.Duration) (string, error) {
	host, text, err := net.SplitHostPort(at)
	if err != nil {
		return "", err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+family, host)
	if err != nil {
		return "", err
	}
	fd, err := connectRaw(ips[0].Unmap(), wait)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	init := packet{from: uint16(1024 + rand.N(60000)), to: uint16(port), kind: chunkInit, ownTag: rand.Uint32()} //nolint:gosec // below 65536
	if _, err := unix.Write(fd, init.bytes()); err != nil && !errors.Is(err, unix.EPERM) {                       // see exchange
		return "", err
	}
	b := make([]byte, 1500)
	for end := time.Now().Add(wait); time.Now().Before(end); {
		n, err := unix.Read(fd, b)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNREFUSED) && !blamed(fd, init.from) {
			continue
		}
		if err != nil {
			return "", err
		}
		p, err := parse(payload(b[:n], ips[0].Unmap().Is4()))
		if err == nil && p.kind == chunkInitAck && p.to == init.from && p.tag == init.ownTag {
			return p.cookie, nil
		}
	}
	return "", os.ErrDeadlineExceeded
}

// blamed tells whether an ICMP error was about a packet from that port: raw sockets hear all that are
// about their protocol and the other's address.
func blamed(fd int, from uint16) bool {
	b := make([]byte, 1500)
	for {
		n, _, _, _, err := unix.Recvmsg(fd, b, make([]byte, 500), unix.MSG_ERRQUEUE)
		if err != nil {
			return false
		}
		if n >= 2 && binary.BigEndian.Uint16(b) == from {
			return true
		}
	}
}

// connectRaw opens a socket that hears one address, and of ICMP errors from there.
func connectRaw(to netip.Addr, wait time.Duration) (fd int, err error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.As16()})
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	if to.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Addr: to.As4()}
		level, option = unix.IPPROTO_IP, unix.IP_RECVERR
	}
	fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return 0, err
	}
	limit := unix.NsecToTimeval(wait.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err == nil {
		err = unix.SetsockoptInt(fd, level, option, 1)
	}
	if err == nil {
		err = unix.Connect(fd, address)
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}
