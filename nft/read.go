package nft

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Intact tells whether the table has the chains, rules and sets that were written, and no others. What
// the sets hold is told by [Table.Elements].
func (t *Table) Intact() (bool, error) {
	rules, sets, chains := map[string][]uint64{}, 0, 0
	ours := func(data []byte, name uint16) (string, uint64, bool) {
		var table, thing string
		var handle uint64
		Attributes(data, func(kind uint16, value []byte) {
			switch {
			case kind == unix.NFTA_TABLE_NAME: // the same number for all
				table = textOf(value)
			case kind == name:
				thing = textOf(value)
			case kind == unix.NFTA_RULE_HANDLE && len(value) == 8:
				handle = binary.BigEndian.Uint64(value)
			}
		})
		return thing, handle, table == t.name
	}
	same := true
	for _, list := range []struct {
		operation int
		name      uint16
		each      func(name string, handle uint64)
	}{
		{unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_NAME, func(name string, _ uint64) {
			_, ok := t.rules[name]
			same, chains = same && ok, chains+1
		}},
		{unix.NFT_MSG_GETRULE, unix.NFTA_RULE_CHAIN, func(name string, handle uint64) { rules[name] = append(rules[name], handle) }},
		{unix.NFT_MSG_GETSET, unix.NFTA_SET_NAME, func(name string, _ uint64) {
			if _, ok := t.sets[name]; ok {
				sets++
			}
		}},
	} {
		err := t.socket.dump(list.operation, func(*message) {}, func(data []byte) {
			if name, handle, ok := ours(data, list.name); ok {
				list.each(name, handle)
			}
		})
		if err != nil {
			return false, fmt.Errorf("read nftables table %s: %w", t.name, err)
		}
	}
	for chain, handles := range t.rules {
		same = same && slices.Equal(handles, rules[chain])
	}
	return same && sets == len(t.sets) && chains == len(t.rules), nil
}

// Elements calls each for every element of a set that the table has. Just after many have come, while
// the kernel makes the set larger, some may be told twice and some not at all.
func (t *Table) Elements(set string, each func(Element)) error {
	s, ok := t.sets[set]
	if !ok {
		return fmt.Errorf("read nftables table %s: there is no set %s", t.name, set)
	}
	err := t.socket.dump(unix.NFT_MSG_GETSETELEM, func(m *message) {
		m.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name)
		m.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func(data []byte) {
		Attributes(data, func(kind uint16, list []byte) {
			if kind == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				Attributes(list, func(_ uint16, value []byte) { each(s.elementOf(value)) })
			}
		})
	})
	if err != nil {
		return fmt.Errorf("read nftables set %s of table %s: %w", set, t.name, err)
	}
	return nil
}

// elementOf reads what [Set.element] writes.
func (s Set) elementOf(data []byte) Element {
	var e Element
	Attributes(data, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_SET_ELEM_FLAGS:
			e.End = binary.BigEndian.Uint32(value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_KEY:
			Attributes(value, func(_ uint16, v []byte) { e.Key = string(v) })
		case unix.NFTA_SET_ELEM_DATA:
			Attributes(value, func(kind uint16, v []byte) {
				if kind == unix.NFTA_DATA_VERDICT {
					e.Verdict = jumpOf(v)
				} else {
					e.Data = string(v)
				}
			})
		}
	})
	return e
}

func jumpOf(verdict []byte) Jump {
	var j Jump
	Attributes(verdict, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_VERDICT_CODE:
			j.Goto = int32(binary.BigEndian.Uint32(value)) == unix.NFT_GOTO //nolint:gosec // it is signed
		case unix.NFTA_VERDICT_CHAIN:
			j.Chain = textOf(value)
		}
	})
	return j
}

func textOf(value []byte) string {
	if n := len(value); n > 0 && value[n-1] == 0 {
		value = value[:n-1]
	}
	return string(value)
}
