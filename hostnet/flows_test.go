package hostnet

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/test/sandbox"
)

// BenchmarkFlows reads 50,000 flows of which none matches.
func BenchmarkFlows(b *testing.B) {
	sandbox.Need(b)
	if err := SetSysctl("net/netfilter/nf_conntrack_max", "1000000"); err != nil {
		b.Log(err)
	}
	flow := func(i int) *netlink.ConntrackFlow {
		a := binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i))
		one, other := net.IP(a), net.IPv4(172, 30, 0, 3).To4()
		return &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET, TimeOut: 600,
			Forward:   netlink.IPTuple{SrcIP: one, DstIP: other, SrcPort: 5555, DstPort: 80, Protocol: unix.IPPROTO_TCP},
			Reverse:   netlink.IPTuple{SrcIP: other, DstIP: one, SrcPort: 80, DstPort: 5555, Protocol: unix.IPPROTO_TCP},
			ProtoInfo: &netlink.ProtoInfoTCP{State: 3},
		}
	}
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		b.Fatal(err)
	}
	defer handle.Close()
	for i := range 50000 {
		if err := handle.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, flow(i)); err != nil {
			b.Fatal(i, err)
		}
	}
	for name, forget := range map[string]func(func(Flow) bool) error{
		"all":        func(match func(Flow) bool) error { return ForgetFlows(true, false, match) },
		"unanswered": ForgetUnanswered,
	} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				if err := forget(func(Flow) bool { n++; return false }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/float64(b.N), "read/op")
		})
	}
}
