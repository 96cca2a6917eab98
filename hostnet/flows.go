package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/nft"
)

// Flow is one direction of a connection that the kernel keeps track of, as its client sees it.
type Flow struct {
	ID       uint32         // the kernel's; the next flow between the same ends has another
	Protocol uint8          // an IP protocol number
	To       netip.AddrPort // whom the client sends to
	By       netip.AddrPort // who answers: another one if the kernel translates
}

// Of a flow's status (nf_conntrack_common.h).
const (
	flowAnswered   = 1 << 1
	flowTranslated = 1 << 5 // to another destination
)

// flowStatusMask is CTA_STATUS_MASK: which bits the kernel compares, Linux 5.15 and later.
const flowStatusMask = 26

// ForgetFlows makes the kernel forget those that match: the next packet is the first of a new one. It
// looks at all that there could be: with the kernel's table of 262,144 buckets 5 ms of a processor, however few
// flows there are, and about 2 ms for 1,000 of them, whatever the number of those that match.
func ForgetFlows(v4, v6 bool, match func(Flow) bool) error {
	switch {
	case v4 && v6:
		return forget(unix.AF_UNSPEC, nil, match)
	case v4:
		return forget(unix.AF_INET, nil, match)
	case v6:
		return forget(unix.AF_INET6, nil, match)
	}
	return nil
}

// ForgetUnanswered does so with those of both families that the kernel translates to another destination
// and that have had no answer from there. The kernel looks for them itself: 10 ms, and 10 more for 50,000 flows.
func ForgetUnanswered(match func(Flow) bool) error {
	only := []*nl.RtAttr{
		nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(flowTranslated)),
		nl.NewRtAttr(flowStatusMask, nl.BEUint32Attr(flowTranslated|flowAnswered)),
	}
	return forget(unix.AF_UNSPEC, only, match)
}

func forget(family uint8, only []*nl.RtAttr, match func(Flow) bool) error {
	var found [][]byte
	dump := flowRequest(family, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	for _, a := range only {
		dump.AddData(a)
	}
	err := dump.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		flow, status := readFlow(message[nl.SizeofNfgenmsg:])
		if only != nil && status&(flowTranslated|flowAnswered) != flowTranslated { // an older kernel
			return true
		}
		if match(flow) {
			found = append(found, message)
		}
		return true
	})
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing is tracked
		return nil
	case err != nil && !errors.Is(err, netlink.ErrDumpInterrupted): // flows come and go all the time
		return fmt.Errorf("read connections: %w", err)
	}
	for _, message := range found {
		end := flowRequest(message[0], nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
		end.AddRawData(message[nl.SizeofNfgenmsg:]) // with its ID
		if _, err := end.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget a connection: %w", err)
		}
	}
	return nil
}

func flowRequest(family uint8, operation, flags int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return r
}

// readFlow reads what the kernel tells of a flow.
func readFlow(data []byte) (f Flow, status uint32) {
	nft.Attributes(data, func(kind uint16, value []byte) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			_, f.To, f.Protocol = readEnds(value)
		case nl.CTA_TUPLE_REPLY:
			f.By, _, _ = readEnds(value)
		case nl.CTA_STATUS:
			status = binary.BigEndian.Uint32(value)
		case nl.CTA_ID:
			f.ID = binary.BigEndian.Uint32(value)
		}
	})
	return f, status
}

// readEnds reads who sends to whom.
func readEnds(data []byte) (from, to netip.AddrPort, protocol uint8) {
	var ips [2]netip.Addr
	var ports [2]uint16
	nft.Attributes(data, func(kind uint16, value []byte) {
		nft.Attributes(value, func(field uint16, value []byte) {
			switch {
			case kind == nl.CTA_TUPLE_IP && (field == nl.CTA_IP_V4_SRC || field == nl.CTA_IP_V6_SRC):
				ips[0], _ = netip.AddrFromSlice(value)
			case kind == nl.CTA_TUPLE_IP:
				ips[1], _ = netip.AddrFromSlice(value)
			case field == nl.CTA_PROTO_NUM:
				protocol = value[0]
			case field == nl.CTA_PROTO_SRC_PORT:
				ports[0] = binary.BigEndian.Uint16(value)
			case field == nl.CTA_PROTO_DST_PORT:
				ports[1] = binary.BigEndian.Uint16(value)
			}
		})
	})
	return netip.AddrPortFrom(ips[0], ports[0]), netip.AddrPortFrom(ips[1], ports[1]), protocol
}
