package clusterip

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/duetk8s/duet/dualstack"
)

// B6.2, B6.5: what is usable of a prefix, and how it is divided.
func TestB6_2_B6_5_Spans(t *testing.T) {
	for _, tt := range []struct {
		prefix, first, last string
		static              uint64
		total               uint64
	}{
		{"10.96.0.0/28", "10.96.0.1", "10.96.0.14", 0, 14},
		{"10.96.0.0/29", "10.96.0.1", "10.96.0.6", 0, 6},
		{"10.96.0.0/30", "10.96.0.1", "10.96.0.2", 0, 2},
		{"10.96.0.0/27", "10.96.0.1", "10.96.0.30", 16, 30},
		{"10.96.0.0/24", "10.96.0.1", "10.96.0.254", 16, 254},
		{"10.96.0.0/22", "10.96.0.1", "10.96.3.254", 64, 1022},
		{"10.96.0.0/20", "10.96.0.1", "10.96.15.254", 256, 4094},
		{"10.96.0.0/12", "10.96.0.1", "10.111.255.254", 256, 1<<20 - 2},
		{"0.0.0.0/0", "0.0.0.1", "255.255.255.254", 256, 1<<32 - 2},
		{"fd00::/127", "fd00::1", "fd00::1", 0, 1},
		{"fd00::/124", "fd00::1", "fd00::f", 0, 15},
		{"fd00::/122", "fd00::1", "fd00::3f", 16, 63},
		{"fd00::/118", "fd00::1", "fd00::3ff", 64, 1023},
		{"fd00::/112", "fd00::1", "fd00::ffff", 256, 65535},
		{"fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", 256, full},
		{"fd00::/48", "fd00::1", "fd00::ffff:ffff:ffff:ffff:ffff", 256, full},
		{"::/0", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 256, full},
		{"10.96.0.0/31", "", "", 0, 0},
		{"10.96.0.0/32", "", "", 0, 0},
		{"fd00::/128", "", "", 0, 0},
	} {
		sp, ok := addressSpan(netip.MustParsePrefix(tt.prefix))
		if !ok {
			if tt.first != "" {
				t.Errorf("%s: nothing usable", tt.prefix)
			}
			continue
		}
		if sp.first.addr().String() != tt.first || sp.last.addr().String() != tt.last || sp.static != tt.static || sp.total() != tt.total {
			t.Errorf("%s: %s-%s, %d static, %d in all", tt.prefix, sp.first.addr(), sp.last.addr(), sp.static, sp.total())
		}
	}
}

// B6.6: the dynamic band first, all of it, then the static band, all of it; each start is drawn.
func TestB6_6_BandOrder(t *testing.T) {
	for _, prefix := range []string{"10.96.0.0/24", "fd00::/120"} {
		s := newTestSpace(prefix)
		sp := s.pools[0].span
		for i := uint64(0); i < sp.total(); i++ {
			a, ok := s.pickAddr(dualstack.OfPrefix(netip.MustParsePrefix(prefix)))
			n := numberOf(a)
			if !ok || !sp.contains(n) || n.less(sp.first.plus64(16)) != (i >= sp.total()-16) {
				t.Fatalf("%s: %s as number %d", prefix, a, i)
			}
			s.Apply(2, []Change{{Addr: a, Taken: true}})
		}
		if a, ok := s.pickAddr(dualstack.OfPrefix(netip.MustParsePrefix(prefix))); ok {
			t.Errorf("%s from a full range", a)
		}
	}
}

// B6.3, B6.7, B6.8: ranges overlap, are tried by name, and each knows its own edges.
func TestB6_3_Overlap(t *testing.T) {
	s := newTestSpace("10.96.0.0/28")
	small := Range{Name: "a", Prefixes: prefixes("10.96.0.0/28"), Ready: true, Revision: 7}
	large := Range{Name: "b", Prefixes: prefixes("10.96.0.0/24"), Ready: true, Revision: 8}
	s.SetRanges([]Range{large, small})
	guard := func(a string) string {
		r, _ := s.Guard(netip.MustParseAddr(a))
		return fmt.Sprint(r.Name, r.Revision)
	}
	for addr, want := range map[string]string{
		"10.96.0.1": "a7", "10.96.0.14": "a7", "10.96.0.15": "b8", "10.96.0.0": "0", "10.96.0.255": "0", "fd00::1": "0",
	} {
		if got := guard(addr); got != want {
			t.Errorf("%s is guarded by %s, want %s", addr, got, want)
		}
	}
	for range 14 {
		svc := mustPlan(t, s, service(), nil)
		if !small.Prefixes[0].Contains(netip.MustParseAddr(svc.Spec.ClusterIP)) {
			t.Fatalf("%s before the first range was full", svc.Spec.ClusterIP)
		}
		take(s, 2, svc)
	}
	if got := mustPlan(t, s, service(), nil).Spec.ClusterIP; small.Prefixes[0].Contains(netip.MustParseAddr(got)) {
		t.Errorf("%s again", got)
	}
	takeAddrs(s, 3, "10.96.0.15")
	want := []Usage{
		{Name: "a", Prefix: small.Prefixes[0], Ready: true, Used: 14, Free: 0, Total: 14},
		{Name: "b", Prefix: large.Prefixes[0], Ready: true, Used: 15, Free: 239, Total: 254},
	}
	if got := s.Usage(); !reflect.DeepEqual(got, want) {
		t.Errorf("usage %+v", got)
	}
}

// B6.4: any prefix length allocates.
func TestB6_4_AnyPrefixLength(t *testing.T) {
	for _, length := range []int{0, 1, 8, 32, 48, 63, 64, 65, 96, 108, 112, 120, 127} {
		prefix := netip.PrefixFrom(netip.MustParseAddr("fd00::"), length).Masked()
		s := newTestSpace(prefix.String())
		for range 50 {
			a, ok := s.pickAddr(dualstack.IPv6)
			if !ok && length == 127 {
				break
			}
			if !ok || !prefix.Contains(a) || s.checkAddr(a) != nil {
				t.Fatalf("%s: %s %t", prefix, a, ok)
			}
			takeAddrs(s, 2, a.String())
		}
		if used := s.Usage()[0].Used; used != 50 && length != 127 {
			t.Errorf("%s: %d used", prefix, used)
		}
	}
}

// A dual-stack cluster never uses what the flags do not name (B4.9).
func TestB4_9_FamiliesComeFromFlags(t *testing.T) {
	s := newTestSpace("10.96.0.0/16")
	s.SetRanges([]Range{{Name: "x", Prefixes: prefixes("10.96.0.0/16,fd00::/64"), Ready: true}})
	if err := s.Plan(service(withFamilies("IPv6")), nil); err == nil || codes(err) != "E5" {
		t.Errorf("got %v", err)
	}
}

func TestValidateRanges(t *testing.T) {
	for list, want := range map[string]string{
		"10.96.0.0/29": "", "fd00::/125,10.0.0.0/32": "",
		"10.96.0.0/30": "the service cluster IP range must be at least 8 IP addresses",
		"fd00::/126":   "the service cluster IP range must be at least 8 IP addresses",
	} {
		got := ""
		if err := ValidateRanges(prefixes(list)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q", list, got)
		}
	}
}

// The arithmetic of 128 bits against math/big.
func TestNumber(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	big128 := func(n number) *big.Int {
		return new(big.Int).Or(new(big.Int).Lsh(new(big.Int).SetUint64(n.hi), 64), new(big.Int).SetUint64(n.lo))
	}
	mod := new(big.Int).Lsh(big.NewInt(1), 128)
	for range 2000 {
		a, b := number{r.Uint64(), r.Uint64()}, number{r.Uint64() >> r.UintN(64), r.Uint64()}
		sum := new(big.Int).Mod(new(big.Int).Add(big128(a), big128(b)), mod)
		difference := new(big.Int).Mod(new(big.Int).Sub(big128(a), big128(b)), mod)
		if big128(a.plus(b)).Cmp(sum) != 0 || big128(a.minus(b)).Cmp(difference) != 0 {
			t.Fatalf("%v %v", a, b)
		}
		if a.less(b) != (big128(a).Cmp(big128(b)) < 0) || a.word().join(int(a.bit())) != a || a.addr().Is4() {
			t.Fatalf("%v %v", a, b)
		}
		if d := draw(a, r.Uint64N); !d.less(a) {
			t.Fatalf("%v is not below %v", d, a)
		}
	}
}

// The sparse set against a map, where runs of full words are common and at the end of all numbers.
func TestSet(t *testing.T) {
	for _, base := range []number{{}, {0, full - 9000}, {full, full - 16383}} {
		r := rand.New(rand.NewPCG(base.lo, 1))
		const width = 16384
		var s set
		model := make([]bool, width)
		at := func(i int) number { return base.plus64(uint64(i)) }
		for range 300 {
			from, taken := r.IntN(width), r.IntN(3) > 0
			for i := from; i < min(width, from+r.IntN(6000)); i++ {
				changed := taken && s.add(at(i)) || !taken && s.remove(at(i))
				if changed != (model[i] != taken) || s.has(at(i)) != taken {
					t.Fatalf("number %d: changed %t", i, changed)
				}
				model[i] = taken
			}
			probe := r.IntN(width)
			want := probe
			for want < width && model[want] {
				want++
			}
			got, ok := s.next(at(probe))
			if end := base.hi == full && want == width; ok == end || !end && got != at(want) {
				t.Fatalf("base %v: next from %d is %v %t, want %d", base, probe, got, ok, want)
			}
			lo, hi := min(from, probe), max(from, probe)
			var count uint64
			for _, b := range model[lo : hi+1] {
				if b {
					count++
				}
			}
			if got := s.count(at(lo), at(hi)); got != count {
				t.Fatalf("count from %d to %d: %d, want %d", lo, hi, got, count)
			}
		}
		for i := range model {
			s.remove(at(i))
		}
		for level, words := range s.levels {
			if len(words) > 0 {
				t.Errorf("level %d of the empty set has %d words", level, len(words))
			}
		}
	}
}
