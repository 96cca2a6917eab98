package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/lab"
)

// listeners opens the sockets, the inherited one first.
func (f serverFlags) listeners() ([]net.Listener, error) {
	var out []net.Listener
	if f.listenFD != noFD {
		file := os.NewFile(uintptr(f.listenFD), "listen-fd")
		l, err := net.FileListener(file) // has a descriptor of its own
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("use inherited descriptor %d to listen: %w", f.listenFD, err)
		}
		out = append(out, l)
	}
	for _, at := range f.listen {
		l, err := net.Listen("tcp", at)
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			return nil, fmt.Errorf("listen on %s: the port is in use by another program; stop it, or choose another with --listen", at)
		case errors.As(err, new(*net.AddrError)) || errors.As(err, new(*net.DNSError)):
			return nil, &lab.FlagError{Flag: "--listen", Value: at, Problem: "not an address and a port", Want: "want e.g. [::]:6443"}
		case err != nil:
			return nil, fmt.Errorf("listen on %s: %w", at, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// ownAddresses returns the first global address of each family on this machine.
func ownAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("find this machine's addresses: %w; give them with --advertise", err)
	}
	var out []netip.Addr
	seen := map[bool]bool{}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().IsGlobalUnicast() || seen[p.Addr().Is6()] {
			continue
		}
		seen[p.Addr().Is6()] = true
		out = append(out, p.Addr())
	}
	if len(out) == 0 {
		return nil, errors.New("find this machine's addresses: it has none but loopback; give one with --advertise")
	}
	return out, nil
}
