package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A socket's buffers: a transaction is one message to the kernel, and its answers must all fit before
// they are read. The defaults of 200 KB are too small for a thousand Services.
const (
	sendBuffer    = 256 << 20
	receiveBuffer = 16 << 20
)

const (
	familyHeader = 4 // struct nfgenmsg, which follows that of netlink
	nested       = unix.NLA_F_NESTED
)

// message builds netlink messages, one after another, in one buffer. The library of the same purpose
// is used for expressions only: it cannot say in which byte order a map's data is, without which nft
// prints it the wrong way round, and makes many small objects of many elements.
type message struct {
	data  []byte
	start int // of the last message
	count uint32
	about []string // what each does, for errors; the first is number 1
}

// begin starts a message; end finishes it.
func (m *message) begin(operation int, flags uint16, family uint8, resource uint16, about string) {
	m.start = len(m.data)
	m.count++
	m.about = append(m.about, about)
	m.data = append(m.data, 0, 0, 0, 0)
	m.data = binary.NativeEndian.AppendUint16(m.data, uint16(operation)) //nolint:gosec // few
	m.data = binary.NativeEndian.AppendUint16(m.data, flags|unix.NLM_F_REQUEST)
	m.data = binary.NativeEndian.AppendUint32(m.data, m.count) // sequence number
	m.data = append(m.data, 0, 0, 0, 0, family, unix.NFNETLINK_V0)
	m.data = binary.BigEndian.AppendUint16(m.data, resource)
}

func (m *message) end() {
	binary.NativeEndian.PutUint32(m.data[m.start:], uint32(len(m.data)-m.start)) //nolint:gosec // below sendBuffer
}

// change is a message about something in a table of family inet.
func (m *message) change(operation int, flags uint16, about string, attributes func()) {
	m.begin(unix.NFNL_SUBSYS_NFTABLES<<8|operation, flags, unix.NFPROTO_INET, 0, about)
	attributes()
	m.end()
}

func (m *message) bytes(kind uint16, value []byte) {
	m.data = binary.NativeEndian.AppendUint16(m.data, uint16(4+len(value))) //nolint:gosec // below 64 KB
	m.data = binary.NativeEndian.AppendUint16(m.data, kind)
	m.data = append(m.data, value...)
	for len(m.data)%4 != 0 {
		m.data = append(m.data, 0)
	}
}

func (m *message) text(kind uint16, value string) { m.bytes(kind, append([]byte(value), 0)) }

func (m *message) number(kind uint16, value uint32) {
	m.bytes(kind, binary.BigEndian.AppendUint32(nil, value))
}

// nest puts attributes into one.
func (m *message) nest(kind uint16, attributes func()) {
	start := len(m.data)
	m.bytes(kind|nested, nil)
	attributes()
	binary.NativeEndian.PutUint16(m.data[start:], uint16(len(m.data)-start)) //nolint:gosec // below 64 KB
}

// size of the message that is being built.
func (m *message) size() int { return len(m.data) - m.start }

// socket is a connection to the kernel's netfilter.
type socket struct{ fd int }

func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &socket{fd}, nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// port is how the kernel names the socket to others.
func (s *socket) port() uint32 {
	if a, err := unix.Getsockname(s.fd); err == nil {
		if a, ok := a.(*unix.SockaddrNetlink); ok {
			return a.Pid
		}
	}
	return 0
}

// commit sends changes as one transaction, calls echo for what the kernel repeats of them, and returns
// its first complaint. All answers are there when the kernel has taken the message.
func (s *socket) commit(changes func(*message) error, echo func(kind uint16, data []byte)) error {
	m := &message{data: make([]byte, 0, 64<<10)}
	m.begin(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, "transaction")
	m.end()
	if err := changes(m); err != nil {
		return err
	}
	m.begin(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, "transaction")
	m.end()
	if err := unix.Sendto(s.fd, m.data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var first error
	err := s.receive(unix.MSG_DONTWAIT, func(h nlHeader, data []byte) bool {
		if code := errorOf(h, data); code != 0 && first == nil {
			first = fmt.Errorf("%s: %w", m.about[min(max(h.number, 1), m.count)-1], code)
		}
		if h.kind != unix.NLMSG_ERROR && len(data) >= familyHeader {
			echo(h.kind&0xff, data[familyHeader:])
		}
		return true
	})
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	return errors.Join(first, err)
}

// dump asks for everything of a kind and calls each for every message: what follows its header. When
// somebody changes nftables meanwhile it is all wrong, see [IsInterrupted].
func (s *socket) dump(operation int, attributes func(*message), each func(data []byte)) error {
	m := &message{}
	m.change(operation, unix.NLM_F_DUMP, "", func() { attributes(m) })
	if err := unix.Sendto(s.fd, m.data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var failed error
	err := s.receive(0, func(h nlHeader, data []byte) bool {
		if h.flags&unix.NLM_F_DUMP_INTR != 0 {
			failed = unix.EINTR
		}
		code := errorOf(h, data)
		switch {
		case code != 0:
			failed = code
			return false
		case h.kind == unix.NLMSG_DONE:
			return false
		case h.kind != unix.NLMSG_ERROR && failed == nil:
			each(data[familyHeader:])
		}
		return true
	})
	return errors.Join(failed, err)
}

// receive calls each for every message that comes, until it returns false.
func (s *socket) receive(flags int, each func(h nlHeader, data []byte) bool) error {
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(s.fd, buffer, flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		more := true
		err = messages(buffer[:n], func(h nlHeader, data []byte) bool {
			more = each(h, data)
			return more
		})
		if err != nil || !more {
			return err
		}
	}
}

// nlHeader is that of a message.
type nlHeader struct {
	kind, flags uint16
	number      uint32 // in sequence
}

// messages calls each for those in data, until it returns false.
func messages(data []byte, each func(h nlHeader, data []byte) bool) error {
	for len(data) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(data))
		if length < unix.SizeofNlMsghdr || length > len(data) {
			return errors.New("a message of netlink is cut off")
		}
		h := nlHeader{binary.NativeEndian.Uint16(data[4:]), binary.NativeEndian.Uint16(data[6:]), binary.NativeEndian.Uint32(data[8:])}
		if !each(h, data[unix.SizeofNlMsghdr:length]) {
			return nil
		}
		data = data[min((length+3)&^3, len(data)):]
	}
	return nil
}

// errorOf a message, 0 if it is none.
func errorOf(h nlHeader, data []byte) unix.Errno {
	if (h.kind == unix.NLMSG_ERROR || h.kind == unix.NLMSG_DONE) && len(data) >= 4 {
		return unix.Errno(-int32(binary.NativeEndian.Uint32(data))) //nolint:gosec // an error number
	}
	return 0
}

// Attributes calls each for those in data, in their order: a part of a netlink message.
func Attributes(data []byte, each func(kind uint16, value []byte)) {
	for len(data) >= 4 {
		length := int(binary.NativeEndian.Uint16(data))
		if length < 4 || length > len(data) {
			return
		}
		each(binary.NativeEndian.Uint16(data[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), data[4:length])
		data = data[min((length+3)&^3, len(data)):]
	}
}
