package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Chain of rules. With a hook it is where packets come in.
type Chain struct {
	Name  string
	Hook  Hook
	Rules []Rule
}

// Hook is where in a packet's way a chain sees it.
type Hook int

// The hooks. Those of address translation see the first packet of each connection.
const (
	None        Hook = iota
	Prerouting       // translates destinations of what comes in
	Output           // translates destinations of what this machine sends
	Postrouting      // translates sources
	Sent             // every packet that this machine sends, before its connection is known
	Delivered        // every packet to this machine, after translation
)

// Schema is what a table consists of.
type Schema struct {
	Sets   []Set
	Chains []Chain
}

// Changes of a table, in the order in which they are made.
type Changes struct {
	AddSets      []Set
	AddChains    []Chain
	Remove, Add  map[string][]Element // by set
	RemoveChains []string
	RemoveSets   []string
}

// Table is one table of family inet.
type Table struct {
	socket *socket
	name   string
	sets   map[string]Set
	rules  map[string][]uint64 // by chain, their handles: a rule can be replaced but not changed
	ids    uint32
}

// Open connects to the kernel; the table need not exist. Close it.
func Open(name string) (*Table, error) {
	s, err := dial()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &Table{socket: s, name: name, sets: map[string]Set{}, rules: map[string][]uint64{}}, nil
}

// Close ends the connection and leaves the table.
func (t *Table) Close() error {
	if err := t.socket.close(); err != nil {
		return fmt.Errorf("close nftables: %w", err)
	}
	return nil
}

// Rebuild replaces the table, if there is one, by this one.
func (t *Table) Rebuild(s Schema, elements map[string][]Element) error {
	t.sets, t.rules = map[string]Set{}, map[string][]uint64{}
	return t.commit(func(m *message) error {
		t.absent(m)
		m.change(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "add the table", func() { m.text(unix.NFTA_TABLE_NAME, t.name) })
		return t.apply(m, Changes{AddSets: s.Sets, AddChains: s.Chains, Add: elements})
	})
}

// Remove takes the table away; that there is none is no error.
func (t *Table) Remove() error {
	t.sets, t.rules = map[string]Set{}, map[string][]uint64{}
	err := t.commit(func(m *message) error {
		m.change(unix.NFT_MSG_DELTABLE, 0, "delete the table", func() { m.text(unix.NFTA_TABLE_NAME, t.name) })
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// absent deletes the table; it is added first so that this cannot fail.
func (t *Table) absent(m *message) {
	for _, operation := range []int{unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE} {
		m.change(operation, unix.NLM_F_CREATE, "delete the table", func() { m.text(unix.NFTA_TABLE_NAME, t.name) })
	}
}

// Apply changes the table. An element that is to come and is there with other data, or is to leave and
// is not there, fails all of it: then the table is as before, and not what the caller thinks it is.
func (t *Table) Apply(c Changes) error {
	return t.commit(func(m *message) error { return t.apply(m, c) })
}

func (t *Table) commit(changes func(*message) error) error {
	if err := t.socket.commit(changes, t.note); err != nil {
		return fmt.Errorf("change nftables table %s: %w", t.name, err)
	}
	return nil
}

// note remembers a rule that the kernel has taken.
func (t *Table) note(kind uint16, data []byte) {
	if kind != unix.NFT_MSG_NEWRULE {
		return
	}
	var chain string
	var handle uint64
	Attributes(data, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_RULE_CHAIN:
			chain = textOf(value)
		case unix.NFTA_RULE_HANDLE:
			handle = binary.BigEndian.Uint64(value)
		}
	})
	t.rules[chain] = append(t.rules[chain], handle)
}

func (t *Table) apply(m *message, c Changes) error {
	for _, s := range c.AddSets {
		t.sets[s.Name] = s
		t.ids++
		s.add(m, t.name, t.ids)
	}
	if err := t.addChains(m, c.AddChains); err != nil {
		return err
	}
	for operation, bySet := range []map[string][]Element{c.Remove, c.Add} {
		for name, list := range bySet {
			s, ok := t.sets[name]
			if !ok {
				return fmt.Errorf("there is no set %s", name)
			}
			s.elements(m, []int{unix.NFT_MSG_DELSETELEM, unix.NFT_MSG_NEWSETELEM}[operation], t.name, 0, list)
		}
	}
	for _, name := range c.RemoveChains {
		delete(t.rules, name)
		m.change(unix.NFT_MSG_DELRULE, 0, "empty chain "+name, func() {
			m.text(unix.NFTA_RULE_TABLE, t.name)
			m.text(unix.NFTA_RULE_CHAIN, name)
		})
		m.change(unix.NFT_MSG_DELCHAIN, 0, "delete chain "+name, func() {
			m.text(unix.NFTA_CHAIN_TABLE, t.name)
			m.text(unix.NFTA_CHAIN_NAME, name)
		})
	}
	for _, name := range c.RemoveSets {
		delete(t.sets, name)
		m.change(unix.NFT_MSG_DELSET, 0, "delete set "+name, func() {
			m.text(unix.NFTA_SET_TABLE, t.name)
			m.text(unix.NFTA_SET_NAME, name)
		})
	}
	return nil
}

// addChains makes all chains before the first rule, which may go to any of them.
func (t *Table) addChains(m *message, list []Chain) error {
	for _, c := range list {
		t.rules[c.Name] = nil
		m.change(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain "+c.Name, func() {
			m.text(unix.NFTA_CHAIN_TABLE, t.name)
			m.text(unix.NFTA_CHAIN_NAME, c.Name)
			if c.Hook != None {
				at := hooks[c.Hook]
				m.nest(unix.NFTA_CHAIN_HOOK, func() {
					m.number(unix.NFTA_HOOK_HOOKNUM, at.number)
					m.number(unix.NFTA_HOOK_PRIORITY, uint32(at.priority)) //nolint:gosec // the kernel reads it as signed
				})
				m.text(unix.NFTA_CHAIN_TYPE, at.kind)
			}
		})
	}
	for _, c := range list {
		for _, r := range c.Rules {
			if err := t.addRule(m, c.Name, r); err != nil {
				return fmt.Errorf("rule of chain %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

func (t *Table) addRule(m *message, chain string, r Rule) error {
	var parts [][]byte
	for _, e := range r {
		if own, ok := e.(*oneOf); ok { // its set comes before the rule
			t.ids++
			own.set.add(m, t.name, t.ids)
			own.set.elements(m, unix.NFT_MSG_NEWSETELEM, t.name, t.ids, own.elements)
			e = &expr.Lookup{SourceRegister: own.SourceRegister, SetName: own.set.Name, SetID: t.ids}
		}
		part, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return err
		}
		parts = append(parts, part)
	}
	m.change(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND|unix.NLM_F_ECHO, "add a rule to chain "+chain, func() {
		m.text(unix.NFTA_RULE_TABLE, t.name)
		m.text(unix.NFTA_RULE_CHAIN, chain)
		m.nest(unix.NFTA_RULE_EXPRESSIONS, func() {
			for _, part := range parts {
				m.bytes(unix.NFTA_LIST_ELEM|nested, part)
			}
		})
	})
	return nil
}

// hooks are where the kernel calls chains.
var hooks = map[Hook]struct {
	number   uint32
	priority int32
	kind     string
}{
	Prerouting:  {unix.NF_INET_PRE_ROUTING, -100, "nat"},
	Output:      {unix.NF_INET_LOCAL_OUT, -100, "nat"},
	Postrouting: {unix.NF_INET_POST_ROUTING, 100, "nat"},
	Sent:        {unix.NF_INET_LOCAL_OUT, -300, "filter"},
	Delivered:   {unix.NF_INET_LOCAL_IN, 150, "filter"},
}

// IsOutOfStep tells that the table is not what the caller thinks it is.
func IsOutOfStep(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
}

// IsInterrupted tells that what was read is not what was there at one moment.
func IsInterrupted(err error) bool { return errors.Is(err, unix.EINTR) }
