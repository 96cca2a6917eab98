package clusterip

import (
	"fmt"
	"strconv"
	"strings"
)

// PortRange is the range of node ports, both ends included.
type PortRange struct{ First, Last int32 }

// DefaultNodePorts is the range of a cluster that is not told otherwise (A9.1).
func DefaultNodePorts() PortRange { return PortRange{30000, 32767} }

// ParsePortRange reads the value of a flag in any of its three forms: "30000-32767", "30000+2767"
// (the same) or "30000" (that port alone) (A9.1).
func ParsePortRange(s string) (PortRange, error) {
	const remedy = "write it as 30000-32767, 30000+2767 or 30000, within 1-65535"
	wrong := func() (PortRange, error) {
		return PortRange{}, fmt.Errorf("%q is not a valid port range: %s", s, remedy)
	}
	at := strings.IndexAny(s, "-+")
	if at < 0 {
		at = len(s)
	}
	first, ok := parsePort(s[:at])
	if !ok {
		return wrong()
	}
	last := first
	if at < len(s) {
		if last, ok = parsePort(s[at+1:]); !ok {
			return wrong()
		}
		if s[at] == '+' {
			last += first
		}
	}
	if first < 1 || last > 65535 || last < first {
		return wrong()
	}
	return PortRange{int32(first), int32(last)}, nil
}

func parsePort(s string) (int, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	return int(n), err == nil
}

// String renders r as the error of A9.4 does.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Contains reports whether port lies in r.
func (r PortRange) Contains(port int32) bool { return r.First <= port && port <= r.Last }

// span gives r its static band: a thirty-second, at least 16 and at most 128, and none where 16
// would be all of it (A9.3). Of 30000-32767 it is 30000-30085.
func (r PortRange) span() span {
	sp := span{first: portNumber(r.First), last: portNumber(r.Last)}
	if size := uint64(r.Last-r.First) + 1; size > 16 {
		sp.static = min(max(16, size/32), 128)
	}
	return sp
}

func portNumber(port int32) number { return number{lo: uint64(uint32(port))} }
