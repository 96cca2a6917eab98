package clusterip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/dualstack"
)

// filled returns a Space with taken addresses of prefix, random as the server picks them, and
// reports false if the prefix has not that many.
func filled(prefix string, taken int) (*Space, bool) {
	s := NewSpace(Config{Families: dualstack.Order(prefixes(prefix))})
	s.SetRanges([]Range{{Name: "kubernetes", Prefixes: prefixes(prefix), Ready: true}})
	s.ReplaceAddrs(1, nil)
	s.ReplacePorts(1, nil)
	family := s.families[0]
	for range taken {
		a, ok := s.pickAddr(family)
		if !ok {
			return nil, false
		}
		s.note(Change{Addr: a, Taken: true})
	}
	return s, true
}

// eachFilling runs a benchmark for each prefix and number of taken addresses.
func eachFilling(b *testing.B, run func(b *testing.B, s *Space)) {
	for _, prefix := range []string{"10.96.0.0/16", "10.96.0.0/12", "fd00::/112", "fd00::/64"} {
		for _, taken := range []int{0, 10_000, 1_000_000} {
			s, ok := filled(prefix, taken)
			if !ok {
				continue // a /16 and a /112 have 65,536
			}
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(prefix, "/", "-"), taken), func(b *testing.B) { run(b, s) })
		}
	}
}

func BenchmarkPick(b *testing.B) {
	eachFilling(b, func(b *testing.B, s *Space) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := s.pickAddr(s.families[0]); !ok {
				b.Fatal("full")
			}
		}
	})
}

// The worst cases: one free address among a million, and none.
func BenchmarkPickNearlyFull(b *testing.B) {
	s, _ := filled("10.96.0.0/12", 1<<20-2)
	b.Run("none", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.pickAddr(dualstack.IPv4)
		}
	})
	s.note(Change{Addr: netip.MustParseAddr("10.100.7.7")})
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := s.pickAddr(dualstack.IPv4); !ok {
				b.Fatal("full")
			}
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	eachFilling(b, func(b *testing.B, s *Space) {
		fresh := service()
		b.ReportAllocs()
		for b.Loop() {
			svc := *fresh
			if err := s.Plan(&svc, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPlanDual(b *testing.B) {
	s := newTestSpace("10.96.0.0/16,fd00:10:96::/112")
	s.random = rand.Uint64N
	for name, t := range map[string]corev1.ServiceType{"ClusterIP": corev1.ServiceTypeClusterIP, "NodePort": corev1.ServiceTypeNodePort} {
		b.Run(name, func(b *testing.B) {
			fresh := service(withPolicy("RequireDualStack"), withType(t))
			ports := make([]corev1.ServicePort, 1)
			b.ReportAllocs()
			for b.Loop() {
				svc := *fresh
				ports[0] = fresh.Spec.Ports[0]
				svc.Spec.Ports = ports
				if err := s.Plan(&svc, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An update that changes nothing, as most are.
func BenchmarkPlanUpdate(b *testing.B) {
	s := newTestSpace("10.96.0.0/16,fd00:10:96::/112")
	old := service(withPolicy("RequireDualStack"))
	if err := s.Plan(old, nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		svc := *old
		if err := s.Plan(&svc, old); err != nil {
			b.Fatal(err)
		}
	}
}

// Taking one address and giving it back, as the watch does, with ten ranges.
func BenchmarkApply(b *testing.B) {
	s, _ := filled("fd00::/64", 10_000)
	var ranges []Range
	for i := range 10 {
		ranges = append(ranges, Range{Name: fmt.Sprint(i), Prefixes: prefixes("fd00::/64"), Ready: true})
	}
	s.SetRanges(ranges)
	change := []Change{{Addr: netip.MustParseAddr("fd00::5")}}
	b.ReportAllocs()
	for b.Loop() {
		change[0].Taken = !change[0].Taken
		s.Apply(2, change)
	}
}
