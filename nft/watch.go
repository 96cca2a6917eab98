package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch calls changed when somebody else may have changed the table, until ctx ends: every change of
// nftables is an event that says which socket it came from. When events come faster than they are
// taken the kernel drops some, which counts as a change. It may run beside the goroutine that the
// table belongs to.
func (t *Table) Watch(ctx context.Context, changed func()) error {
	file, err := t.subscribe()
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	defer file.Close()
	defer context.AfterFunc(ctx, func() { _ = file.Close() })()
	buffer := make([]byte, 64<<10)
	for {
		n, err := file.Read(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			changed()
		case err != nil:
			return fmt.Errorf("watch nftables: %w", err)
		default:
			err = messages(buffer[:n], func(h nlHeader, data []byte) bool {
				if t.concerned(h.kind, data) {
					changed()
					return false
				}
				return true
			})
			if err != nil {
				return fmt.Errorf("watch nftables: %w", err)
			}
		}
	}
}

// concerned tells whether an event is about this table.
func (t *Table) concerned(kind uint16, data []byte) bool {
	if kind>>8 != unix.NFNL_SUBSYS_NFTABLES || kind&0xff == unix.NFT_MSG_NEWGEN || len(data) < familyHeader {
		return false
	}
	ours := false
	Attributes(data[familyHeader:], func(kind uint16, value []byte) {
		ours = ours || kind == unix.NFTA_TABLE_NAME && textOf(value) == t.name // the same number for all kinds of things
	})
	return ours && data[0] == unix.NFPROTO_INET
}

// subscribe opens a socket that receives everybody's changes but the table's own, which the kernel
// itself leaves out: there may be a hundred thousand of those.
func (t *Table) subscribe() (*os.File, error) {
	s, err := dial()
	if err != nil {
		return nil, err
	}
	own := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, t.socket.port()))
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12}, // the sender, in the header of netlink
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: own, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}), //nolint:gosec // four
		unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES),
		unix.SetNonblock(s.fd, true))
	if err != nil {
		_ = s.close()
		return nil, err
	}
	return os.NewFile(uintptr(s.fd), "nftables"), nil //nolint:gosec // a descriptor
}
