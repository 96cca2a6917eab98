package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
	"github.com/duetk8s/duet/test/sandbox"
)

// filled is a proxy that wants n dual-stack Services with two endpoints each.
func filled(b *testing.B, n int) still {
	b.Helper()
	sandbox.Need(b)
	p := newStill(b, newDeps(), TableName)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- p.table.Watch(ctx, func() {}) }() // which makes the kernel tell of each change
	b.Cleanup(func() { cancel(); <-done })
	for i := range n {
		p.take(strconv.Itoa(i), nth(i, 0))
	}
	return p
}

// nth Service, with another second endpoint for each change.
func nth(i, change int) []Port {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s" + strconv.Itoa(i)}, Spec: corev1.ServiceSpec{
		ClusterIPs: []string{fmt.Sprintf("10.%d.%d.%d", 100+i>>16, i>>8&255, i&255), fmt.Sprintf("fd00:10:97::%x", i+1)},
		Ports:      []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	second := fmt.Sprintf("10.244.9.%d fd00:10:244:9::%x node1", change%250+2, change%250+2)
	return Ports(svc, endpoints(svc.Name, pod3, second), nodeName)
}

// BenchmarkCold writes all of them at once; floor has nft do it with the same maps from a file.
func BenchmarkCold(b *testing.B) {
	for _, n := range []int{1000, 10000, 30000} {
		file := filepath.Join(b.TempDir(), "floor.nft")
		b.Run(fmt.Sprintf("services=%d/proxy", n), func(b *testing.B) {
			p := filled(b, n)
			for b.Loop() {
				if err := p.rebuild(); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			table := sandbox.Run(b, "nft", "list", "table", "inet", TableName)
			if err := os.WriteFile(file, []byte("table inet duet-proxy\ndelete table inet duet-proxy\n"+table), 0o600); err != nil {
				b.Fatal(err)
			}
		})
		b.Run(fmt.Sprintf("services=%d/floor", n), func(b *testing.B) {
			for b.Loop() {
				sandbox.Run(b, "nft", "-f", file)
			}
			b.StopTimer()
			sandbox.Run(b, "nft", "delete table inet duet-proxy")
		})
	}
}

// BenchmarkChange: one endpoint of one Service becomes another one. Half of them take p50-µs at most.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 30000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			p := filled(b, n)
			if err := p.sync(b.Context()); err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				ports := nth(7, i+1)
				start := time.Now()
				p.take("7", ports)
				if err := p.sync(b.Context()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			b.ReportMetric(median(took), "p50-µs")
		})
	}
}

func median(list []time.Duration) float64 {
	slices.Sort(list)
	return float64(list[len(list)/2].Nanoseconds()) / 1000
}

// BenchmarkMemory: what the proxy keeps of its Services.
func BenchmarkMemory(b *testing.B) {
	const n = 30000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		p := filled(b, n)
		if err := p.rebuild(); err != nil {
			b.Fatal(err)
		}
		p.ledger.written()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/service")
		runtime.KeepAlive(p)
	}
}

// BenchmarkConnect: a connection from a Pod to another through a Service, and directly, by turns.
func BenchmarkConnect(b *testing.B) {
	buildLab(b)
	for _, n := range []int{10, 30000} {
		p := filled(b, n)
		p.take("web", Ports(web("web", "1"), endpoints("web", pod1), nodeName))
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.0.0/24", "fd00:10:244::/64"}}}
		store(p.deps.Nodes, node, true)
		if err := p.sync(b.Context()); err != nil {
			b.Fatal(err)
		}
		for _, to := range []struct{ family, direct, service string }{
			{"IPv4", "10.244.0.2:8080", "10.96.0.1:80"}, {"IPv6", "[fd00:10:244::2]:8080", "[fd00:10:96::1]:80"},
		} {
			b.Run(fmt.Sprintf("services=%d/%s", n, to.family), func(b *testing.B) {
				for _, at := range []string{to.direct, to.service} {
					if got := who(call(b, "pod2", "tcp", at)); got != "pod1 pod2" {
						b.Fatalf("%s: %s", at, got)
					}
				}
				var direct, service []time.Duration
				if err := hostnet.Within(path("pod2"), func() error {
					for b.Loop() {
						for at, list := range map[string]*[]time.Duration{to.direct: &direct, to.service: &service} {
							took, err := connect(at)
							if err != nil {
								return fmt.Errorf("%s: %w", at, err)
							}
							*list = append(*list, took)
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(median(direct), "direct-µs")
				b.ReportMetric(median(service), "service-µs")
				b.ReportMetric(median(service)/median(direct), "×direct")
			})
		}
		if err := p.table.(*nft.Table).Remove(); err != nil {
			b.Fatal(err)
		}
	}
}

// connect and hang up at once, so that no port is kept.
func connect(to string) (time.Duration, error) {
	at := netip.MustParseAddrPort(to)
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if at.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	s, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(s)
	if err := unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return 0, err
	}
	start := time.Now()
	err = unix.Connect(s, address)
	return time.Since(start), err
}
