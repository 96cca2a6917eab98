package clusterip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/duetk8s/duet/dualstack"
)

// etcd is the truth of the tests below: which keys exist, at which revision each changed last, and
// the log that a watch replays.
type etcd struct {
	rev   int64
	taken map[Change]bool // by key: a Change with Taken false
	log   [][]Change      // log[r-1] are the changes of revision r
}

// write commits changes that make sense (nothing is taken twice or freed while free) and returns
// their revision.
func (e *etcd) write(changes ...Change) int64 {
	e.rev++
	for _, c := range changes {
		key := c
		key.Taken = false
		e.taken[key] = c.Taken
	}
	e.log = append(e.log, changes)
	return e.rev
}

// keys returns what is taken.
func (e *etcd) keys() (addrs []netip.Addr, ports []int32) {
	for key, taken := range e.taken {
		switch {
		case taken && key.Addr.IsValid():
			addrs = append(addrs, key.Addr)
		case taken:
			ports = append(ports, key.Port)
		}
	}
	return addrs, ports
}

// naive is a Space as one would write it in the specification: it goes through every address.
type naive struct {
	addrs  map[netip.Addr]bool
	ports  map[int32]bool
	ranges []Range
	// revisions of the watches
	addrRev, portRev int64
}

func (n *naive) note(c Change) {
	if c.Addr.IsValid() {
		n.addrs[c.Addr] = c.Taken
	} else {
		n.ports[c.Port] = c.Taken
	}
}

func (n *naive) apply(rev int64, changes []Change) {
	for _, c := range changes {
		if c.Addr.IsValid() {
			n.addrRev = rev
		} else {
			n.portRev = rev
		}
		n.note(c)
	}
}

func (n *naive) observe(rev int64, changes []Change) {
	for _, c := range changes {
		if c.Addr.IsValid() && rev > n.addrRev || !c.Addr.IsValid() && rev > n.portRev {
			n.note(c)
		}
	}
}

// usable lists the usable addresses of p in order (B6.2).
func usable(p netip.Prefix) []netip.Addr {
	var all []netip.Addr
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		all = append(all, a)
	}
	if all = all[1:]; p.Addr().Is4() && len(all) > 0 {
		all = all[:len(all)-1]
	}
	return all
}

// candidates returns the addresses that may be picked next: the free ones of the best band of the
// first ready prefix that has any (B6.6, B6.8).
func (n *naive) candidates(f dualstack.Family) []netip.Addr {
	for _, r := range n.ranges {
		for _, p := range r.Prefixes {
			if !r.Ready || dualstack.OfPrefix(p) != f {
				continue
			}
			all := usable(p)
			static := min(int(staticAddresses(f.Bits()-p.Bits())), len(all))
			for _, band := range [][]netip.Addr{all[static:], all[:static]} {
				free := slices.DeleteFunc(slices.Clone(band), func(a netip.Addr) bool { return n.addrs[a] })
				if len(free) > 0 {
					return free
				}
			}
		}
	}
	return nil
}

func (n *naive) usage() string {
	var text []string
	for _, r := range n.ranges {
		for _, p := range r.Prefixes {
			all := usable(p)
			used := 0
			for _, a := range all {
				if n.addrs[a] {
					used++
				}
			}
			text = append(text, fmt.Sprintf("%s %s %d %d %d", r.Name, p, used, len(all)-used, len(all)))
		}
	}
	return strings.Join(text, "\n")
}

func usageText(s *Space) string {
	var text []string
	for _, u := range s.Usage() {
		text = append(text, fmt.Sprintf("%s %s %d %d %d", u.Name, u.Prefix, u.Used, u.Free, u.Total))
	}
	return strings.Join(text, "\n")
}

// agree compares s with the model in everything that can be seen.
func (n *naive) agree(t *testing.T, s *Space) {
	t.Helper()
	if got, want := usageText(s), n.usage(); got != want {
		t.Fatalf("usage\n%s\nwant\n%s", got, want)
	}
	for _, f := range dualstack.Families() {
		free := n.candidates(f)
		a, ok := s.pickAddr(f)
		if ok != (len(free) > 0) || ok && !slices.Contains(free, a) {
			t.Fatalf("picked %s %t, want one of %v", a, ok, free)
		}
	}
	used := uint64(0)
	for p, taken := range n.ports {
		if taken && s.nodePorts.Contains(p) {
			used++
		}
		if s.portTaken(p) != taken {
			t.Fatalf("port %d", p)
		}
	}
	if got, _ := s.PortUsage(); got != used {
		t.Fatalf("%d ports used, want %d", got, used)
	}
}

var modelRanges = []Range{
	{Name: "a", Prefixes: prefixes("10.0.0.0/27,fd00::/123"), Ready: true},
	{Name: "b", Prefixes: prefixes("10.0.0.0/28"), Ready: true},
	{Name: "c", Prefixes: prefixes("fd00::/122"), Ready: false},
	{Name: "d", Prefixes: prefixes("fd00::20/124,10.0.0.16/30"), Ready: true},
	{Name: "e", Prefixes: prefixes("10.0.0.8/31,fd00::7/128"), Ready: true},
}

// world is one etcd, a Space that hears of it by a lagging watch and by answers to transactions that
// come at once, late or never, and the model that hears the same.
type world struct {
	r       *rand.Rand
	etcd    *etcd
	space   *Space
	model   *naive
	watched int64    // the revision that the watch has brought
	late    []func() // answers under way
}

func newWorld(seed uint64) *world {
	return &world{
		r:    rand.New(rand.NewPCG(seed, 7)),
		etcd: &etcd{taken: map[Change]bool{}},
		space: NewSpace(Config{
			Families:  []dualstack.Family{dualstack.IPv6, dualstack.IPv4},
			NodePorts: PortRange{30000, 30039},
			Rand:      seeded(seed),
		}),
		model: &naive{addrs: map[netip.Addr]bool{}, ports: map[int32]bool{}},
	}
}

// step lets one thing happen.
func (w *world) step() {
	switch op := w.r.IntN(20); {
	case op < 9: // a transaction, ours or another server's
		changes := randomChanges(w.r, w.etcd)
		rev := w.etcd.write(changes...)
		if w.r.IntN(2) == 0 {
			w.answer(rev, changes)
		}
	case op < 11: // a transaction fails and its answer tells of a key as it is at this revision
		c := randomChanges(w.r, w.etcd)[0]
		c.Taken = !c.Taken
		w.answer(w.etcd.rev, []Change{c})
	case op < 14 && len(w.late) > 0: // some answer arrives
		i := w.r.IntN(len(w.late))
		w.late[i]()
		w.late = slices.Delete(w.late, i, i+1)
	case op < 18 && w.watched < w.etcd.rev: // the watch goes on
		w.watch()
	case op == 18: // another set of ranges, in any order
		w.model.ranges = slices.Clone(modelRanges[w.r.IntN(3) : 3+w.r.IntN(3)])
		shuffled := slices.Clone(w.model.ranges)
		w.r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		w.space.SetRanges(shuffled)
	case op == 19 && w.r.IntN(8) == 0: // the watch broke
		w.list()
	}
}

func (w *world) answer(rev int64, changes []Change) {
	w.late = append(w.late, func() {
		w.space.Observe(rev, changes)
		w.model.observe(rev, changes)
	})
}

func (w *world) watch() {
	changes := w.etcd.log[w.watched]
	w.watched++
	w.space.Apply(w.watched, changes)
	w.model.apply(w.watched, changes)
}

func (w *world) list() {
	addrs, ports := w.etcd.keys()
	w.watched = w.etcd.rev
	w.space.ReplaceAddrs(w.watched, addrs)
	w.space.ReplacePorts(w.watched, ports)
	*w.model = naive{map[netip.Addr]bool{}, map[int32]bool{}, w.model.ranges, w.watched, w.watched}
	for key, taken := range w.etcd.taken {
		key.Taken = taken
		w.model.note(key)
	}
}

// Whatever happens, the Space equals the model that follows the same rules naively; and once the
// watch has caught up, it equals etcd, even if old answers are still to come.
func TestSpaceEqualsModel(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(seed)
		for range 400 {
			w.step()
			w.model.agree(t, w.space)
		}
		for w.watched < w.etcd.rev {
			w.watch()
		}
		for _, arrive := range w.late {
			arrive()
		}
		for key, taken := range w.etcd.taken {
			n, set := portNumber(key.Port), &w.space.ports.taken
			if key.Addr.IsValid() {
				n, set = numberOf(key.Addr), &w.space.addrs.taken
			}
			if set.has(n) != taken {
				t.Fatalf("seed %d: %+v: the watch has caught up and the Space is wrong", seed, key)
			}
		}
	}
}

// Readers and writers at once, for the race detector.
func TestSpaceConcurrency(t *testing.T) {
	s := newTestSpace("10.96.0.0/24,fd00::/112")
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for rev := range int64(200) {
				svc := service(withPolicy("PreferDualStack"), withType("NodePort"))
				if err := s.Plan(svc, nil); err != nil {
					t.Error(err)
				}
				addrs, ports := Claims(svc)
				s.Observe(rev+2, []Change{{Addr: addrs[0], Taken: true}, {Port: ports[0], Taken: true}})
				s.Apply(rev, []Change{{Addr: addrs[0]}, {Port: ports[0]}})
				s.Guard(addrs[1])
				s.Usage()
				if i == 0 {
					s.SetRanges([]Range{{Name: fmt.Sprint(rev), Prefixes: s.prefixes(), Ready: true}})
				}
			}
		})
	}
	group.Wait()
}

// randomChanges returns one to three changes that etcd would let pass.
func randomChanges(r *rand.Rand, truth *etcd) []Change {
	var changes []Change
	for range 1 + r.IntN(3) {
		var key Change
		switch r.IntN(3) {
		case 0:
			key.Addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(32))})
		case 1:
			key.Addr = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(r.IntN(64))})
		default:
			key.Port = 29995 + r.Int32N(50)
		}
		if slices.ContainsFunc(changes, func(c Change) bool { return c.Addr == key.Addr && c.Port == key.Port }) {
			continue
		}
		change := key
		change.Taken = !truth.taken[key]
		changes = append(changes, change)
	}
	return changes
}
