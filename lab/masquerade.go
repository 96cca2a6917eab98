package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// masqueradeRule hides the senders of matching packets behind the address of the link that they
// leave by. Zero fields match everything.
type masqueradeRule struct {
	source netip.Addr // packets from this address …
	notOut string     // … that leave by any link but this …
	out    string     // … or by exactly this one
}

// masqueradeRules hides what comes from the cluster's end of an uplink, wherever it goes on:
//
//	ip saddr 169.254.64.2 oifname != "duet-NAME" masquerade
//	ip6 saddr fd64:7565:7400::2 oifname != "duet-NAME" masquerade
func masqueradeRules(link string, sources []netip.Addr) []masqueradeRule {
	var rules []masqueradeRule
	for _, a := range sources {
		rules = append(rules, masqueradeRule{source: a, notOut: link})
	}
	return rules
}

// masquerade installs a table of that name with the rules, in place of what it held before.
func masquerade(table string, rules []masqueradeRule) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: table}
	c.AddTable(t) // so that deleting it cannot fail
	c.DelTable(t)
	c.AddTable(t)
	chain := c.AddChain(&nftables.Chain{
		Table: t, Name: "postrouting", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r.exprs()})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("add nftables table %s: %w", table, err)
	}
	return nil
}

// dropTable removes the table of that name; none is no error.
func dropTable(table string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil //nolint:nilerr // no nftables in this kernel: no table either
	}
	for _, t := range tables {
		if t.Name != table {
			continue
		}
		c.DelTable(t)
		if err := c.Flush(); err != nil {
			return fmt.Errorf("delete nftables table %s: %w", table, err)
		}
	}
	return nil
}

func (r masqueradeRule) exprs() []expr.Any {
	var out []expr.Any
	if r.source.IsValid() {
		proto, offset := byte(unix.NFPROTO_IPV4), uint32(12) // of the source address in the header
		if r.source.Is6() {
			proto, offset = unix.NFPROTO_IPV6, 8
		}
		address := r.source.AsSlice()
		out = append(out,
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(address))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address})
	}
	for _, m := range []struct {
		op   expr.CmpOp
		link string
	}{{expr.CmpOpEq, r.out}, {expr.CmpOpNeq, r.notOut}} {
		if m.link != "" {
			out = append(out,
				&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
				&expr.Cmp{Op: m.op, Register: 1, Data: linkName(m.link)})
		}
	}
	return append(out, &expr.Masq{})
}

// linkName is a name as the kernel compares it: 16 bytes, zeros at the end.
func linkName(name string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, name)
	return out
}
