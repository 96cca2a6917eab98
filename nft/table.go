package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
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
	conn  *nftables.Conn
	table *nftables.Table
	sets  map[string]Set
	ids   uint32
}

// Messages to and from the kernel: a transaction is one message to it, and its answers must all fit
// before they are read. The defaults of 200 KB are too small for a thousand Services.
const (
	sendBuffer    = 256 << 20
	receiveBuffer = 16 << 20
	// An attribute of netlink cannot be longer than 64 KB.
	elementsPerMessage = 400
)

// Open connects to the kernel; the table need not exist. Close it.
func Open(name string) (*Table, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(sendBuffer), c.SetReadBuffer(receiveBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &Table{
		conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: name}, sets: map[string]Set{},
	}, nil
}

// Close ends the connection and leaves the table.
func (t *Table) Close() error {
	if err := t.conn.CloseLasting(); err != nil {
		return fmt.Errorf("close nftables: %w", err)
	}
	return nil
}

// Rebuild replaces the table, if there is one, by this one.
func (t *Table) Rebuild(s Schema, elements map[string][]Element) error {
	t.conn.AddTable(t.table) // so that deleting it cannot fail
	t.conn.DelTable(t.table)
	t.conn.AddTable(t.table)
	t.sets = map[string]Set{}
	return t.Apply(Changes{AddSets: s.Sets, AddChains: s.Chains, Add: elements})
}

// Remove takes the table away; that there is none is no error.
func (t *Table) Remove() error {
	t.conn.AddTable(t.table)
	t.conn.DelTable(t.table)
	t.sets = map[string]Set{}
	return t.flush()
}

// Apply changes the table. An element that is to come and is there with other data, or is to leave and
// is not there, fails all of it: then the table is as before, and not what the caller thinks it is.
func (t *Table) Apply(c Changes) error {
	var errs []error
	for _, s := range c.AddSets {
		t.ids++
		t.sets[s.Name] = s
		errs = append(errs, t.conn.AddSet(s.kernel(t.table, t.ids), nil))
	}
	t.addChains(c.AddChains)
	for name, list := range c.Remove {
		errs = append(errs, t.each(name, list, t.conn.SetDeleteElements))
	}
	for name, list := range c.Add {
		errs = append(errs, t.each(name, list, t.conn.SetAddElements))
	}
	for _, name := range c.RemoveChains {
		chain := &nftables.Chain{Table: t.table, Name: name}
		t.conn.FlushChain(chain)
		t.conn.DelChain(chain)
	}
	for _, name := range c.RemoveSets {
		t.conn.DelSet(&nftables.Set{Table: t.table, Name: name})
		delete(t.sets, name)
	}
	err := t.flush()
	return errors.Join(append(errs, err)...)
}

// addChains makes all chains before the first rule, which may go to any of them.
func (t *Table) addChains(list []Chain) {
	chains := make([]*nftables.Chain, len(list))
	for i, c := range list {
		chains[i] = &nftables.Chain{Table: t.table, Name: c.Name}
		if c.Hook != None {
			chains[i].Type, chains[i].Hooknum, chains[i].Priority = c.Hook.kernel()
		}
		t.conn.AddChain(chains[i])
	}
	for i, c := range list {
		for _, r := range c.Rules {
			t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: chains[i], Exprs: r})
		}
	}
}

func (h Hook) kernel() (nftables.ChainType, *nftables.ChainHook, *nftables.ChainPriority) {
	switch h {
	case Prerouting:
		return nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest
	case Output:
		return nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest
	case Sent:
		return nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityRaw
	case Delivered:
		return nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource + 50)
	default:
		return nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource
	}
}

// each hands elements over in messages that are short enough.
func (t *Table) each(name string, list []Element, do func(*nftables.Set, []nftables.SetElement) error) error {
	s, ok := t.sets[name]
	if !ok {
		return fmt.Errorf("nftables table %s has no set %s", t.table.Name, name)
	}
	k := s.kernel(t.table, 0)
	for part := range slices.Chunk(list, elementsPerMessage) {
		if err := do(k, s.elements(part)); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

func (t *Table) flush() error {
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("change nftables table %s: %w", t.table.Name, err)
	}
	return nil
}

// IsOutOfStep tells that the table is not what the caller thinks it is.
func IsOutOfStep(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
}
