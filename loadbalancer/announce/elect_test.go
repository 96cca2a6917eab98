package announce

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// shares of 3,000 Services among stations.
func shares(list []Station) map[string]int {
	out := map[string]int{}
	for i := range 3000 {
		out[Elect(types.UID(fmt.Sprint("uid-", i)), list)]++
	}
	return out
}

func TestElect(t *testing.T) {
	a, b, c := Station{Node: "worker0"}, Station{Node: "worker1"}, Station{Node: "worker2"}
	fresh, unready, estranged := b, b, b
	fresh.Fresh, unready.Unready, estranged.Estranged = true, true, true
	for _, row := range []struct {
		name string
		list []Station
		want string // who answers for any
	}{
		{"nobody", nil, ""},
		{"one", []Station{a}, "worker0"},
		{"all", []Station{a, b, c}, "worker0 worker1 worker2"},
		{"a fresh one waits", []Station{a, fresh, c}, "worker0 worker2"},
		{"one that is not ready waits", []Station{unready, a}, "worker0"},
		{"rather fresh than not ready", []Station{unready, {Node: "worker0", Fresh: true}}, "worker0"},
		{"rather not ready than estranged", []Station{estranged, {Node: "worker0", Unready: true}}, "worker0"},
		{"all the same", []Station{fresh, {Node: "worker0", Fresh: true}}, "worker0 worker1"},
		{"better than nobody", []Station{estranged}, "worker1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := shares(row.list)
			names := slices.Sorted(maps.Keys(got))
			if text := strings.Join(names, " "); text != row.want {
				t.Errorf("got %q, want %q", text, row.want)
			}
			for _, n := range got {
				if share := 3000 / len(got); n < share*9/10 || n > share*11/10 {
					t.Errorf("shares are %v", got)
				}
			}
		})
	}
}

// A node that goes moves its own share and nothing else; the order of the list does not matter.
func TestElectMovesLittle(t *testing.T) {
	var all []Station
	for i := range 10 {
		all = append(all, Station{Node: fmt.Sprint("worker", i)})
	}
	less, back := slices.Delete(slices.Clone(all), 3, 4), slices.Clone(all)
	slices.Reverse(back)
	for i := range 3000 {
		uid := types.UID(fmt.Sprint(i))
		before, after := Elect(uid, all), Elect(uid, less)
		if before != after && before != "worker3" {
			t.Fatalf("%s moved from %s to %s", uid, before, after)
		}
		if Elect(uid, back) != before {
			t.Fatalf("%s depends on the order", uid)
		}
	}
}

func TestBeat(t *testing.T) {
	b := beat{Cluster: [8]byte{1, 2, 3}, Node: "worker0", Hello: true, Up: 1234 * time.Millisecond, Silence: 40 * time.Second}
	if got, ok := decode(append(b.encode(), make([]byte, 20)...)); !ok || got != b {
		t.Errorf("%+v, %t", got, ok)
	}
	b.Up = 1000 * 24 * time.Hour
	if got, ok := decode(b.encode()); !ok || got.Up != maxTime {
		t.Errorf("a long time became %s, %t", got.Up, ok)
	}
	for _, p := range [][]byte{nil, []byte("duet\x01"), []byte(strings.Repeat("x", 60)), b.encode()[:beatHead+3], beat{}.encode()} {
		if got, ok := decode(p); ok {
			t.Errorf("%q was read as %+v", p, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(beat{Node: "worker0"}.encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		if b, ok := decode(p); ok {
			if again, ok := decode(b.encode()); !ok || again != b {
				t.Errorf("%+v became %+v", b, again)
			}
		}
	})
}

// BenchmarkElect decides about 10,000 dual-stack Services among 100 nodes, as when a node dies, and
// about one of them.
func BenchmarkElect(b *testing.B) {
	o := &opened{a: &Announcer{claims: map[string]Claim{}, members: map[string]member{}, config: Config{Node: "worker0"}}, stations: stations{}}
	for i := range 100 {
		name := fmt.Sprint("worker", i)
		o.a.members[name] = member{addresses: []netip.Addr{netip.MustParseAddr("172.30.0.3"), netip.MustParseAddr("fd00:172:30::3")}}
		o.stations[name] = &station{}
	}
	for i := range 10000 {
		key := fmt.Sprint("default/", i)
		o.a.claims[key] = Claim{Service: types.UID(key), Addresses: []netip.Addr{netip.MustParseAddr("172.30.0.192"), netip.MustParseAddr("fd00:172:30::f000")}}
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			candidates := o.candidates()
			for _, c := range o.a.claims {
				o.elected(c, candidates)
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			o.elected(o.a.claims["default/1"], o.candidates())
		}
	})
}
