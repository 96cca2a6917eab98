package proxy

import (
	"encoding/binary"
	"net/netip"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/nft"
)

// place is where an element is: in a set, or, of kind [kindClasses], also a chain.
type place struct {
	kind   kind
	family dualstack.Family
	key    string
}

// entry is one element that a Service wants.
type entry struct {
	place
	value string // data, or what makes the chain
}

// ledger is what all Services want together, and what has changed of it since it was last written.
type ledger struct {
	held    map[place]holding
	sizes   map[string]int // of sets
	changed map[place]before
}

// holding is what is at a place: the value, how many want it, and the others that are wanted there
// instead and wait until it is free.
type holding struct {
	value   string
	claims  int
	waiting []string
}

// before is what was at a place when it was last written.
type before struct {
	value string
	there bool
}

func newLedger() *ledger {
	l := &ledger{held: map[place]holding{}, sizes: map[string]int{}, changed: map[place]before{}}
	for _, f := range dualstack.Families() {
		for _, class := range []uint32{classRefuse, classDrop} {
			l.claim(entry{place: place{kindClasses, f, nft.Bytes(class << classShift)}})
		}
	}
	return l
}

// replace lets a Service want other entries than before. Where two want different things at one place,
// who came first has it.
func (l *ledger) replace(old, now []entry) {
	kept := map[entry]int{} // wanted before and now
	for _, e := range old {
		kept[e]++
	}
	var came []entry
	for _, e := range now {
		if kept[e] > 0 {
			kept[e]--
		} else {
			came = append(came, e)
		}
	}
	for _, e := range old {
		if kept[e] > 0 {
			kept[e]--
			l.release(e)
		}
	}
	for _, e := range came {
		l.claim(e)
	}
}

func (l *ledger) touch(p place) {
	if _, ok := l.changed[p]; !ok {
		h, there := l.held[p]
		l.changed[p] = before{h.value, there}
	}
}

func (l *ledger) claim(e entry) {
	h, ok := l.held[e.place]
	switch {
	case !ok:
		l.touch(e.place)
		l.sizes[e.kind.of(e.family)]++
		h.value, h.claims = e.value, 1
	case h.value == e.value:
		h.claims++
	default:
		h.waiting = append(h.waiting, e.value)
	}
	l.held[e.place] = h
}

func (l *ledger) release(e entry) {
	h := l.held[e.place]
	if h.value != e.value {
		for i, v := range h.waiting {
			if v == e.value {
				h.waiting = append(h.waiting[:i:i], h.waiting[i+1:]...)
				break
			}
		}
		l.held[e.place] = h
		return
	}
	if h.claims--; h.claims > 0 {
		l.held[e.place] = h
		return
	}
	l.touch(e.place)
	if len(h.waiting) == 0 {
		l.sizes[e.kind.of(e.family)]--
		delete(l.held, e.place)
		return
	}
	next := holding{value: h.waiting[0]}
	for _, v := range h.waiting {
		if v == next.value {
			next.claims++
		} else {
			next.waiting = append(next.waiting, v)
		}
	}
	l.held[e.place] = next
}

// written forgets which places have changed. A map that was large once would be slow to clear ever after.
func (l *ledger) written() { l.changed = map[place]before{} }

// changes are what is to be written.
type changes struct {
	nft.Changes
	came, went []netip.Prefix // what needs routes
}

// changes is how the wanted differs from when it was last written.
func (l *ledger) changes(classes *classes) changes {
	c := changes{Changes: nft.Changes{Add: map[string][]nft.Element{}, Remove: map[string][]nft.Element{}}}
	for p, was := range l.changed {
		now, there := l.held[p]
		if there == was.there && (!there || now.value == was.value) {
			continue
		}
		if was.there {
			remove(&c, classes, entry{p, was.value})
		}
		if there {
			add(&c, classes, entry{p, now.value})
		}
	}
	return c
}

// everything is what is wanted as if there were nothing yet.
func (l *ledger) everything(classes *classes) changes {
	c := changes{Changes: nft.Changes{Add: map[string][]nft.Element{}}}
	for p, h := range l.held {
		add(&c, classes, entry{p, h.value})
	}
	return c
}

func add(c *changes, classes *classes, e entry) {
	switch e.kind {
	case kindRoutes:
		c.came = append(c.came, routeOf(e))
		return
	case kindClasses:
		if class := classOf(e.key); class < classRefuse {
			c.AddChains = append(c.AddChains, classes.chain(e.family, class))
		}
	case kindSources:
		set, elements := sourceSet(e.family, e.key)
		c.AddSets = append(c.AddSets, set)
		c.AddChains = append(c.AddChains, sourceChain(e.family, set.Name))
		c.Add[set.Name] = elements
		return
	default:
	}
	name := e.kind.of(e.family)
	c.Add[name] = append(c.Add[name], element(classes, e))
}

func remove(c *changes, classes *classes, e entry) {
	switch e.kind {
	case kindRoutes:
		c.went = append(c.went, routeOf(e))
		return
	case kindClasses:
		c.RemoveChains = append(c.RemoveChains, classes.chain(e.family, classOf(e.key)).Name)
	case kindSources:
		name := sourceName(e.family, e.key)
		c.RemoveChains = append(c.RemoveChains, name)
		c.RemoveSets = append(c.RemoveSets, name)
		return
	default:
	}
	name := e.kind.of(e.family)
	c.Remove[name] = append(c.Remove[name], element(classes, e))
}

func element(classes *classes, e entry) nft.Element {
	switch e.kind {
	case kindClasses:
		switch class := classOf(e.key); class {
		case classDrop:
			return nft.Element{Key: e.key}
		case classRefuse:
			return nft.Element{Key: e.key, Verdict: nft.Jump{Chain: refuseChain, Goto: true}}
		default:
			return nft.Element{Key: e.key, Verdict: nft.Jump{Chain: classes.chain(e.family, class).Name, Goto: true}}
		}
	case kindFirewall:
		return nft.Element{Key: e.key, Verdict: nft.Jump{Chain: sourceName(e.family, e.value)}}
	default:
		return nft.Element{Key: e.key, Data: e.value}
	}
}

func classOf(key string) uint32 { return binary.NativeEndian.Uint32([]byte(key)) >> classShift }
