package proxy

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/nft"
)

// All of the table is compared with what is wanted this often, and whenever somebody else changes it.
const resyncEvery = 15 * time.Minute

// compare looks at the table's rules at once and, if they are right, leaves the sets to [Proxy.check].
func (p *Proxy) compare(ctx context.Context) {
	if p.stale {
		return // and is about to be replaced
	}
	p.unchecked = nil
	intact, err := p.table.Intact()
	if nft.IsInterrupted(err) { // others are writing
		p.markTaken()
		return
	}
	if err != nil || !intact {
		klog.FromContext(ctx).Info("The table of Services is not what was written, replacing it", "err", err)
		p.stale = true
		return
	}
	for _, f := range dualstack.Families() {
		for _, s := range sets(f) {
			if !s.Dynamic {
				p.unchecked = append(p.unchecked, checked{name: s.Name, kind: kindOf(s.Name, f), family: f})
			}
		}
	}
	for at := range p.ledger.held {
		if at.kind == kindSources {
			p.unchecked = append(p.unchecked, checked{sourceName(at.family, at.key), at.kind, at.family, at.key})
		}
	}
}

// checked is a set that is to be compared.
type checked struct {
	name    string
	kind    kind
	family  dualstack.Family
	sources string // that the set is of, if it is of that kind
}

// check compares one set, so that changes of Services need not wait for all of them, and repairs it.
func (p *Proxy) check(ctx context.Context) error {
	s := p.unchecked[0]
	p.unchecked = p.unchecked[1:]
	c, err := p.differences(s)
	switch {
	case nft.IsInterrupted(err):
		p.unchecked = append(p.unchecked, s) // others are writing
		return nil
	case err != nil:
		p.stale = true
		return err
	case empty(c):
		return nil
	}
	klog.FromContext(ctx).Info("Services in the kernel were not as written, repairing them", "set", s.name,
		"missing", len(c.Add[s.name]), "wrong", len(c.Remove[s.name]))
	p.closed = nil // until the next change, which tells flows of them again
	return p.write(c)
}

// differences of a set from what is wanted of it.
func (p *Proxy) differences(s checked) (nft.Changes, error) {
	c := nft.Changes{Add: map[string][]nft.Element{}, Remove: map[string][]nft.Element{}}
	if s.kind == kindSources {
		if _, ok := p.ledger.held[place{s.kind, s.family, s.sources}]; !ok {
			return c, nil // it has gone meanwhile
		}
		_, list := sourceSet(s.family, s.sources)
		return c, p.compareRanges(&c, s.name, list)
	}
	if list, ok := p.ranges[s.name]; ok {
		return c, p.compareRanges(&c, s.name, nft.Ranges(list))
	}
	right := map[string]bool{}
	err := p.table.Elements(s.name, func(e nft.Element) {
		h, wanted := p.ledger.held[place{s.kind, s.family, e.Key}]
		if wanted && element(&p.classes, entry{place{s.kind, s.family, e.Key}, h.value}) == e {
			right[e.Key] = true
		} else {
			c.Remove[s.name] = append(c.Remove[s.name], e)
		}
	})
	if err != nil || len(right) == p.ledger.sizes[s.name] {
		return c, err
	}
	for at, h := range p.ledger.held {
		if at.kind == s.kind && at.family == s.family && !right[at.key] {
			c.Add[s.name] = append(c.Add[s.name], element(&p.classes, entry{at, h.value}))
		}
	}
	return c, nil
}

// compareRanges replaces all of a set of ranges if any is wrong: the kernel would take the end of one
// for that of another.
func (p *Proxy) compareRanges(c *nft.Changes, name string, want []nft.Element) error {
	var have []nft.Element
	wanted := map[nft.Element]bool{}
	for _, e := range want {
		wanted[e] = true
	}
	same := true
	err := p.table.Elements(name, func(e nft.Element) {
		have = append(have, e)
		same = same && wanted[e]
	})
	if err != nil || same && len(have) == len(want) {
		return err
	}
	if len(have) > 0 {
		c.Remove[name] = have
	}
	if len(want) > 0 {
		c.Add[name] = want
	}
	return nil
}
