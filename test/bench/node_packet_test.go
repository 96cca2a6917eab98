package bench_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/cluster"
)

const (
	changes    = 50 // of each kind at each number of Services
	packetPort = 9
	every      = time.Millisecond // a packet; more would keep the machine from its work
)

// BenchmarkNodeFirstPacket measures from the call that changes the API until the first packet that is
// answered: on both nodes of a lab, in both families, the last of the four. The change goes all the way:
// server, EndpointSlice controller, proxy, kernel.
//
//   - service: a new Service for a Pod that runs
//   - endpoint: a Pod that runs gets the label that a Service without endpoints waits for
//
// Beside it, how long the call itself takes, and until a watcher sees the endpoint in the slices of both
// families. The commit is within the call; what is left of the time after it is what a user can notice.
// A change begins when all has been done that the one before asked for, and the Pod is in no other
// Service: what is measured is one change. Beside the times, the processor time of each side from the
// call until the last packet.
func BenchmarkNodeFirstPacket(b *testing.B) {
	l := cluster.New(b, "--nodes", "2")
	p := newPackets(b, l)
	full := 0
	for _, n := range []int{100, 10000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			fill(b, l, full, n)
			full = n
			p.watch(b)
			p.settle(b)
			b.Run("service", func(b *testing.B) { p.measure(b, p.newService) })
			b.Run("endpoint", func(b *testing.B) { p.measure(b, p.newEndpoint) })
		})
	}
}

// packets is a Pod that echoes, and sockets of the nodes that ask.
type packets struct {
	*cluster.Lab
	server process
	agents [2]process
	serial int

	mu     sync.Mutex
	slices map[string][]time.Time // when slices of a Service were first seen with an endpoint
}

func newPackets(b *testing.B, l *cluster.Lab) *packets {
	b.Helper()
	l.Create(b, cluster.Busybox("echo", cluster.Forever, cluster.On("worker0"), func(pod *corev1.Pod) {
		pod.Labels = map[string]string{"app": "echo"}
	}))
	pod := l.Ready(b, "echo")[0]
	path := fmt.Sprintf("/proc/%d/ns/net", l.Inside(b, pod)[0])
	for _, ip := range pod.Status.PodIPs { // each by itself, to answer from it
		var echo net.PacketConn
		err := hostnet.Within(path, func() (err error) {
			echo, err = net.ListenPacket("udp", net.JoinHostPort(ip.IP, strconv.Itoa(packetPort)))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = echo.Close() })
		go func() {
			buffer := make([]byte, 64)
			for {
				n, from, err := echo.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = echo.WriteTo(buffer[:n], from)
			}
		}()
	}
	return &packets{
		Lab: l, slices: map[string][]time.Time{}, server: process(l.PID(cluster.Server, "")),
		agents: [2]process{process(l.PID(cluster.Agent, "worker0")), process(l.PID(cluster.Agent, "worker1"))},
	}
}

// next gives addresses that no Service has had, of the part of the ranges that is kept for those who
// ask for one.
func (p *packets) next() []string {
	p.serial++
	return []string{fmt.Sprintf("10.96.0.%d", 20+p.serial), fmt.Sprintf("fd00:10:96::%x", 20+p.serial)}
}

// watch notes when slices come to have endpoints, from now on: a watch that saw 10,000 Services being
// made might have been too slow and ended.
func (p *packets) watch(b *testing.B) {
	b.Helper()
	now, err := p.Client.DiscoveryV1().EndpointSlices("default").List(b.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		b.Fatal(err)
	}
	stream, err := p.Client.DiscoveryV1().EndpointSlices("default").Watch(b.Context(), metav1.ListOptions{ResourceVersion: now.ResourceVersion})
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		seen := map[types.UID]bool{}
		for event := range stream.ResultChan() {
			s, ok := event.Object.(*discoveryv1.EndpointSlice)
			if !ok || len(s.Endpoints) == 0 || seen[s.UID] {
				continue
			}
			seen[s.UID] = true
			p.mu.Lock()
			name := s.Labels[discoveryv1.LabelServiceName]
			p.slices[name] = append(p.slices[name], time.Now())
			p.mu.Unlock()
		}
	}()
	b.Cleanup(stream.Stop)
}

// settle makes one change that nobody measures: what was made before has arrived when it has.
func (p *packets) settle(b *testing.B) {
	b.Helper()
	addresses, change := p.newService(b)
	arrived := p.ask(b, addresses)
	if err := change(); err != nil {
		b.Fatal(err)
	}
	arrived()
	p.remove(b)
}

func (p *packets) measure(b *testing.B, prepare func(b *testing.B) (addresses []string, change func() error)) {
	var calls, published, packets []time.Duration
	used := map[string]time.Duration{}
	for range changes {
		addresses, change := prepare(b)
		arrived := p.ask(b, addresses)
		before, began := p.used(b), time.Now()
		if err := change(); err != nil {
			b.Fatal(err)
		}
		calls = append(calls, time.Since(began))
		packets = append(packets, arrived().Sub(began))
		for who, now := range p.used(b) {
			used[who] += now - before[who]
		}
		cluster.Eventually(b, "slices seen", func() string {
			p.mu.Lock()
			defer p.mu.Unlock()
			seen := p.slices[fmt.Sprintf("packet-%d", p.serial)]
			if len(seen) < 2 {
				return fmt.Sprint(seen)
			}
			published = append(published, seen[1].Sub(began))
			return ""
		})
		p.remove(b)
	}
	for who, time := range used {
		b.ReportMetric(float64(time)/changes/1e6, who+"-cpu-ms")
	}
	after := make([]time.Duration, len(calls))
	for i := range calls {
		after[i] = packets[i] - calls[i]
	}
	b.ReportMetric(median(calls), "call-p50-ms")
	b.ReportMetric(high(calls), "call-p99-ms")
	b.ReportMetric(median(published), "slices-p50-ms")
	b.ReportMetric(high(published), "slices-p99-ms")
	b.ReportMetric(median(packets), "packet-p50-ms")
	b.ReportMetric(high(packets), "packet-p99-ms")
	b.ReportMetric(median(after), "after-call-p50-ms")
	b.ReportMetric(high(after), "after-call-p99-ms")
	once(b)
}

// used is the processor time of each side: the server, both agents, and this process, which sends the
// packets.
func (p *packets) used(b *testing.B) map[string]time.Duration {
	b.Helper()
	return map[string]time.Duration{
		"server": p.server.cpu(b), "agents": p.agents[0].cpu(b) + p.agents[1].cpu(b), "senders": process(os.Getpid()).cpu(b),
	}
}

// newService is made by the change.
func (p *packets) newService(b *testing.B) ([]string, func() error) {
	b.Helper()
	svc := p.service(map[string]string{"app": "echo"})
	return svc.Spec.ClusterIPs, func() error {
		_, err := p.Client.CoreV1().Services("default").Create(b.Context(), svc, metav1.CreateOptions{})
		return err
	}
}

// newEndpoint is a Pod's new label.
func (p *packets) newEndpoint(b *testing.B) ([]string, func() error) {
	b.Helper()
	label := strconv.Itoa(p.serial)
	svc := p.service(map[string]string{"turn": label})
	if _, err := p.Client.CoreV1().Services("default").Create(b.Context(), svc, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	cluster.Eventually(b, "all that is made for "+svc.Name, func() string { // there are no endpoints in it yet
		if n, err := p.made(b, svc.Name); err != nil || n != 3 {
			return fmt.Sprint(n, err)
		}
		return ""
	})
	return svc.Spec.ClusterIPs, func() error {
		text := fmt.Sprintf(`{"metadata":{"labels":{"turn":%q}}}`, label)
		_, err := p.Client.CoreV1().Pods("default").Patch(b.Context(), "echo", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{})
		return err
	}
}

// made counts the objects that the controllers keep for a Service: two EndpointSlices and its Endpoints.
func (p *packets) made(b *testing.B, name string) (n int, err error) {
	b.Helper()
	list, err := p.Client.DiscoveryV1().EndpointSlices("default").List(b.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return 0, err
	}
	n = len(list.Items)
	_, err = p.Client.CoreV1().Endpoints("default").Get(b.Context(), name, metav1.GetOptions{}) // they are made, too
	if apierrors.IsNotFound(err) {
		return n, nil
	}
	return n + 1, err
}

// remove deletes the Service of the last change and waits until the controllers have followed.
func (p *packets) remove(b *testing.B) {
	b.Helper()
	name := fmt.Sprintf("packet-%d", p.serial)
	cluster.Eventually(b, "the Endpoints of "+name, func() string { // they come after the slices
		if n, err := p.made(b, name); err != nil || n != 3 {
			return fmt.Sprint(n, err)
		}
		return ""
	})
	if err := p.Client.CoreV1().Services("default").Delete(b.Context(), name, metav1.DeleteOptions{}); err != nil {
		b.Fatal(err)
	}
	cluster.Eventually(b, "the end of "+name, func() string {
		if n, err := p.made(b, name); err != nil || n != 0 {
			return fmt.Sprint(n, err)
		}
		return ""
	})
}

func (p *packets) service(selector map[string]string) *corev1.Service {
	addresses := p.next()
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("packet-%d", p.serial)},
		Spec: corev1.ServiceSpec{
			IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack), ClusterIPs: addresses, ClusterIP: addresses[0], Selector: selector,
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(packetPort)}},
		},
	}
}

// ask sends packets to all the addresses from both nodes until each has been answered; arrived returns
// when the last one was.
func (p *packets) ask(b *testing.B, addresses []string) (arrived func() time.Time) {
	b.Helper()
	var mu sync.Mutex
	var last time.Time
	var all sync.WaitGroup
	for _, node := range []string{"worker0", "worker1"} {
		for _, address := range addresses {
			var c net.Conn
			err := hostnet.Within(p.Namespace(node), func() (err error) {
				c, err = net.Dial("udp", net.JoinHostPort(address, "80"))
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			all.Go(func() {
				at := firstAnswer(c)
				mu.Lock()
				defer mu.Unlock()
				if at.After(last) {
					last = at
				}
			})
		}
	}
	return func() time.Time {
		all.Wait()
		return last
	}
}

// firstAnswer sends until something comes back. Nothing may stop it earlier: what is refused or
// dropped before is what is waited for.
func firstAnswer(c net.Conn) time.Time {
	defer c.Close()
	answered := make(chan time.Time)
	go func() {
		buffer := make([]byte, 64)
		for {
			if _, err := c.Read(buffer); err == nil {
				answered <- time.Now()
				return
			}
		}
	}()
	for ticker := time.NewTicker(every); ; {
		select {
		case at := <-answered:
			ticker.Stop()
			return at
		case <-ticker.C:
			_, _ = c.Write([]byte("echo"))
		}
	}
}

// fill makes Services, numbers from to below to, in both families, each with two endpoints that do
// not exist.
func fill(b *testing.B, l *cluster.Lab, from, to int) {
	b.Helper()
	names := make([]string, to-from)
	for i := range names {
		names[i] = fmt.Sprintf("fill-%d", from+i)
	}
	var made int
	for batch := range slices.Chunk(names, 16) {
		err := atOnce(batch, func(_ int, name string) error {
			svc := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec: corev1.ServiceSpec{
					IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack), Ports: []corev1.ServicePort{{Port: 80}},
				},
			}
			if _, err := l.Client.CoreV1().Services("default").Create(b.Context(), svc, metav1.CreateOptions{}); err != nil {
				return err
			}
			for i, f := range dualstack.Families() {
				if err := fillSlice(b, l, name, f, []string{"10.244.200.9", "fd00:10:244:c8::9"}[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		made += len(batch)
	}
	b.Logf("%d Services made", made)
}

func fillSlice(b *testing.B, l *cluster.Lab, service string, f dualstack.Family, first string) error {
	b.Helper()
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{GenerateName: service + "-", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressType(f),
		Ports:       []discoveryv1.EndpointPort{{Name: new(string), Port: ptr.To[int32](80), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	address := netip.MustParseAddr(first)
	for range 2 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address.String()}})
		address = address.Next()
	}
	_, err := l.Client.DiscoveryV1().EndpointSlices("default").Create(b.Context(), s, metav1.CreateOptions{})
	return err
}
