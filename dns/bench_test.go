package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
)

// BenchmarkQuery asks over UDP on loopback, four clients at a time, for the A and AAAA records of
// dual-stack Services among 10 and 30,000, each with two endpoints in both families. CPU is of server
// and clients together, which are one process; floor is a server that sends every packet back as it
// came, asked in the same run.
func BenchmarkQuery(b *testing.B) {
	for _, n := range []int{10, 30_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			s := benchServer(b, n)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			at := serveUDP(b, &dns.Server{Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.handle(ctx, w, m) })})
			questions := make([][]byte, 0, 2000)
			for i := range 1000 {
				for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
					packet, err := new(dns.Msg).SetQuestion(fmt.Sprintf("s%d.default.svc.cluster.local.", i*7919%n), kind).Pack()
					if err != nil {
						b.Fatal(err)
					}
					questions = append(questions, packet)
				}
			}
			floor := load(b, echo(b), questions)
			b.ResetTimer()
			got := load(b, at, questions)
			b.ReportMetric(got.perCPUSecond, "queries/cpu-s")
			b.ReportMetric(float64(got.p50.Microseconds()), "p50-µs")
			b.ReportMetric(float64(got.p99.Microseconds()), "p99-µs")
			b.ReportMetric(floor.perCPUSecond, "floor-queries/cpu-s")
			b.ReportMetric(float64(floor.p99.Microseconds()), "floor-p99-µs")
		})
	}
}

// BenchmarkReply is one answer without the network: from message to bytes.
func BenchmarkReply(b *testing.B) {
	for _, n := range []int{10, 30_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			s := benchServer(b, n)
			m := new(dns.Msg).SetQuestion("s7.default.svc.cluster.local.", dns.TypeAAAA)
			b.ReportAllocs()
			for b.Loop() {
				s.handle(b.Context(), &client{over: &net.UDPAddr{}}, m)
			}
		})
	}
}

// benchServer knows n Services; nothing is watched.
func benchServer(b *testing.B, n int) *Server {
	b.Helper()
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	core, discovery := factory.Core().V1(), factory.Discovery().V1()
	s, err := New(Deps{
		Client: fake.NewClientset(), Namespaces: core.Namespaces(), Services: core.Services(), Pods: core.Pods(), Slices: discovery.EndpointSlices(), CIDRs: factory.Networking().V1().ServiceCIDRs(),
		Events: record.NewFakeRecorder(1),
	}, Config{Domain: "cluster.local", Addresses: []netip.Addr{netip.IPv6Loopback()}})
	if err != nil {
		b.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(core.Namespaces().Informer().GetIndexer().Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}))
	for i := range n {
		name, low := fmt.Sprint("s", i), fmt.Sprintf("%d.%d", i/250, i%250)
		must(core.Services().Informer().GetIndexer().Add(svc(name, fmt.Sprintf("10.96.%s fd00:96::%x", low, i+1))))
		for family, slice := range map[string]*discoveryv1.EndpointSlice{
			"4": slice(name, fmt.Sprintf("10.1.%s 10.2.%s", low, low)), "6": slice(name, fmt.Sprintf("fd00:1::%x fd00:2::%x", i+1, i+1)),
		} {
			slice.Name = name + "-" + family
			must(discovery.EndpointSlices().Informer().GetIndexer().Add(slice))
		}
	}
	return s
}

func serveUDP(b *testing.B, s *dns.Server) string {
	b.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s.PacketConn = socket
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	b.Cleanup(func() { socket.Close(); <-done })
	return socket.LocalAddr().String()
}

// echo sends every packet back.
func echo(b *testing.B) string {
	b.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 4096)
		for {
			n, from, err := socket.ReadFrom(packet)
			if err != nil {
				return
			}
			_, _ = socket.WriteTo(packet[:n], from)
		}
	}()
	b.Cleanup(func() { socket.Close(); <-done })
	return socket.LocalAddr().String()
}

type loadResult struct {
	perCPUSecond float64
	p50, p99     time.Duration
}

// load asks each of four clients' questions one after the other.
func load(b *testing.B, at string, questions [][]byte) loadResult {
	b.Helper()
	const clients, each = 4, 5000
	took := make([][]time.Duration, clients)
	var group sync.WaitGroup
	before := cpu(b)
	for c := range clients {
		group.Go(func() {
			conn, err := net.Dial("udp", at)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			packet := make([]byte, 4096)
			for i := range each {
				q := questions[(c*each+i)%len(questions)]
				begun := time.Now()
				_ = conn.SetDeadline(begun.Add(10 * time.Second))
				_, err := conn.Write(q)
				n := 0
				if err == nil {
					n, err = conn.Read(packet)
				}
				if err != nil || n < len(q) || packet[3]&0xF != dns.RcodeSuccess {
					b.Errorf("%d bytes, %v", n, err)
					return
				}
				took[c] = append(took[c], time.Since(begun))
			}
		})
	}
	group.Wait()
	spent, all := cpu(b)-before, slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		b.Fatal("no answers")
	}
	return loadResult{float64(len(all)) / spent.Seconds(), all[len(all)/2], all[len(all)*99/100]}
}

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
