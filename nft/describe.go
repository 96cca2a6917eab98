package nft

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// datatype is how the kernel and nft know a type.
type datatype struct {
	number uint32 // nft's
	length uint32
	host   bool   // in the machine's byte order
	typeof []byte // the expression that nft takes for it in "typeof"
}

// Numbers of nft's kinds of expressions (enum expr_types) and of protocols' fields, as it stores them
// with a set to print it by.
const (
	exprPayload = 7
	exprMeta    = 9
	exprConcat  = 13
	exprNumgen  = 23

	descTransport, transportPort = 11, 2
	descIP4, ip4Destination      = 12, 12
	descIP6, ip6Destination      = 13, 9
)

var datatypes = map[Type]datatype{
	Verdict: {number: 0xffffff00, length: 16},
	Addr4:   {number: 7, length: 4, typeof: typeof(exprPayload, descIP4, ip4Destination)},
	Addr6:   {number: 8, length: 16, typeof: typeof(exprPayload, descIP6, ip6Destination)},
	Proto:   {number: 12, length: 1},
	Port:    {number: 13, length: 2, typeof: typeof(exprPayload, descTransport, transportPort)},
	Class:   {number: 23, length: 4, host: true, typeof: typeof(exprMeta, unix.NFT_META_PRIORITY)},
	Number:  {number: 19, length: 4, host: true, typeof: typeof(exprMeta, unix.NFT_META_MARK)},
	Index:   {number: 4, length: 4, typeof: typeof(exprNumgen, unix.NFT_NG_RANDOM, 2, 0)},
}

// typeof describes an expression by its kind and numbers.
func typeof(kind uint32, numbers ...uint32) []byte {
	var inner []byte
	for i, n := range numbers {
		inner = note(inner, byte(i), binary.NativeEndian.AppendUint32(nil, n)) //nolint:gosec // few
	}
	return note(note(nil, 0, binary.NativeEndian.AppendUint32(nil, kind)), 1, inner)
}

// note appends to what nft stores with a set: type, length, value.
func note(to []byte, kind byte, value []byte) []byte {
	return append(append(to, kind, byte(len(value))), value...) //nolint:gosec // short
}

// joined is the type of several fields: nft's number has six bits for each, and in a register each is
// padded to four bytes.
func joined(list []Type) datatype {
	if len(list) == 1 {
		return datatypes[list[0]]
	}
	var out datatype
	var parts []byte
	for i, t := range list {
		d := datatypes[t]
		out.number = out.number<<6 | d.number
		out.length += (d.length + 3) &^ 3
		parts = note(parts, byte(i), d.typeof) //nolint:gosec // few
	}
	out.typeof = note(typeof(exprConcat)[:6], 1, parts)
	return out
}

// notes are what nft needs to know to print a set as it was meant.
func (s Set) notes() []byte {
	const (
		keyOrder, dataOrder, keyTypeof, dataTypeof = 0, 1, 3, 4
		host, big                                  = 1, 2
	)
	order := func(d datatype, several bool) []byte {
		switch {
		case several:
			return make([]byte, 4)
		case d.host:
			return binary.NativeEndian.AppendUint32(nil, host)
		}
		return binary.NativeEndian.AppendUint32(nil, big)
	}
	key := joined(s.Key)
	out := note(nil, keyOrder, order(key, len(s.Key) > 1))
	if len(s.Data) == 0 {
		return out
	}
	data := joined(s.Data)
	out = note(out, dataOrder, order(data, len(s.Data) > 1))
	if slices.Contains(s.Key, Index) { // "type" has no name for it
		out = note(note(out, keyTypeof, key.typeof), dataTypeof, data.typeof)
	}
	return out
}

// add writes the message that makes a set.
func (s Set) add(m *message, table string, id uint32) {
	key := joined(s.Key)
	var flags uint32
	for flag, set := range map[uint32]bool{
		unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT: s.anonymous, unix.NFT_SET_INTERVAL: s.Interval,
		unix.NFT_SET_MAP: len(s.Data) > 0, unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL: s.Dynamic,
	} {
		if set {
			flags |= flag
		}
	}
	m.change(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, "add set "+s.Name, func() {
		m.text(unix.NFTA_SET_TABLE, table)
		m.text(unix.NFTA_SET_NAME, s.Name)
		m.number(unix.NFTA_SET_ID, id)
		m.number(unix.NFTA_SET_FLAGS, flags)
		m.number(unix.NFTA_SET_KEY_TYPE, key.number)
		m.number(unix.NFTA_SET_KEY_LEN, key.length)
		if len(s.Data) > 0 {
			data := joined(s.Data)
			m.number(unix.NFTA_SET_DATA_TYPE, data.number)
			m.number(unix.NFTA_SET_DATA_LEN, data.length)
		}
		if s.Size > 0 {
			m.nest(unix.NFTA_SET_DESC, func() { m.number(unix.NFTA_SET_DESC_SIZE, s.Size) })
		}
		m.bytes(unix.NFTA_SET_USERDATA, s.notes())
	})
}

// An attribute of netlink cannot be longer than 64 KB.
const longest = 60 << 10

// elements writes the messages that add or delete elements; the id is that of a set that has no name
// yet.
func (s Set) elements(m *message, operation int, table string, id uint32, list []Element) {
	verb := "remove from "
	if operation == unix.NFT_MSG_NEWSETELEM {
		verb = "add to "
	}
	for len(list) > 0 {
		m.change(operation, unix.NLM_F_CREATE, verb+s.Name, func() {
			m.text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
			m.text(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
			if id != 0 {
				m.number(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
			}
			m.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
				for len(list) > 0 && m.size() < longest {
					s.element(m, list[0])
					list = list[1:]
				}
			})
		})
	}
}

func (s Set) element(m *message, e Element) {
	m.nest(unix.NFTA_LIST_ELEM, func() {
		if e.End {
			m.number(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		}
		m.nest(unix.NFTA_SET_ELEM_KEY, func() { m.bytes(unix.NFTA_DATA_VALUE, []byte(e.Key)) })
		switch {
		case len(s.Data) == 0:
		case s.Data[0] == Verdict:
			m.nest(unix.NFTA_SET_ELEM_DATA, func() {
				m.nest(unix.NFTA_DATA_VERDICT, func() {
					v := e.Verdict.expr()
					m.number(unix.NFTA_VERDICT_CODE, uint32(v.Kind)) //nolint:gosec // the kernel reads it as signed
					if v.Chain != "" {
						m.text(unix.NFTA_VERDICT_CHAIN, v.Chain)
					}
				})
			})
		default:
			m.nest(unix.NFTA_SET_ELEM_DATA, func() { m.bytes(unix.NFTA_DATA_VALUE, []byte(e.Data)) })
		}
	})
}
