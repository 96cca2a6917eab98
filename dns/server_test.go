package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

// The server answers over UDP and TCP on both families, says where in EndpointSlices, puts them back
// when they are taken away, and knows of a change at once.
func TestServer(t *testing.T) {
	kubeDNS := svc("kube-dns", "10.96.0.10")
	kubeDNS.Namespace, kubeDNS.UID = "kube-system", "7"
	added := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "added"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.100.0.0/24", "fd00:100::/112"}}}
	client := fake.NewClientset(kubeDNS, svc("a", "10.96.0.1 fd00:96::1"), added)
	factory := informers.NewSharedInformerFactory(client, 0)
	server, err := New(Deps{
		Client: client, Namespaces: factory.Core().V1().Namespaces(), Services: factory.Core().V1().Services(), Pods: factory.Core().V1().Pods(),
		Slices: factory.Discovery().V1().EndpointSlices(), CIDRs: factory.Networking().V1().ServiceCIDRs(), Events: record.NewFakeRecorder(10),
	}, Config{Domain: "cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}, Leave: true})
	if err != nil {
		t.Fatal(err)
	}
	stop := background.Run(t, factory, server.Run)

	slices := client.DiscoveryV1().EndpointSlices("kube-system")
	for _, name := range []string{"kube-dns-127-0-0-1", "kube-dns---1"} {
		slice := await(t, slices.Get, name)
		at := netip.MustParseAddr(slice.Endpoints[0].Addresses[0])
		for i, network := range []string{"udp", "tcp"} {
			to := netip.AddrPortFrom(at, uint16(*slice.Ports[i].Port)).String()
			if got := lookup(t, network, to, "a.default.svc.cluster.local.", dns.TypeAAAA); got != "NOERROR [fd00:96::1]" {
				t.Errorf("%s %s: %s", network, to, got)
			}
			if got := lookup(t, network, to, "example.com.", dns.TypeA); got != "NXDOMAIN []" {
				t.Errorf("%s %s: outside: %s", network, to, got)
			}
		}
	}
	for addr, want := range map[string]bool{"10.100.0.9": true, "fd00:100::9": true, "10.100.1.9": false, "fd00:101::9": false} {
		if got := server.source.InRange(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s in a ServiceCIDR: %t", addr, got)
		}
	}
	if err := slices.Delete(t.Context(), "kube-dns-127-0-0-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	at := await(t, slices.Get, "kube-dns-127-0-0-1")
	if _, err := client.CoreV1().Services("default").Create(t.Context(), svc("b", "10.96.0.2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	to := fmt.Sprintf("127.0.0.1:%d", *at.Ports[0].Port)
	eventually.Is(t, 5*time.Second, "a new Service", func() string {
		return lookup(t, "udp", to, "b.default.svc.cluster.local.", dns.TypeA)
	}, "NOERROR [10.96.0.2]")
	// A server that has died is taken out when Service kubernetes no longer has it; those that live,
	// and slices of others, stay.
	apiServers := func(addresses string) *discoveryv1.EndpointSlice {
		e := slice("kubernetes", addresses)
		e.Name = "kubernetes"
		return e
	}
	dead, living, foreign := slice("kube-dns", "192.0.2.1"), slice("kube-dns", "192.0.2.2"), slice("kube-dns", "192.0.2.3")
	for name, s := range map[string]*discoveryv1.EndpointSlice{"dead": dead, "living": living, "foreign": foreign} {
		s.Namespace, s.Name, s.UID = "kube-system", name, types.UID(name)
		s.Labels[discoveryv1.LabelManagedBy], s.Annotations = managedBy, map[string]string{annotationServer: s.Endpoints[0].Addresses[0] + ",2001:db8::1"}
	}
	foreign.Labels[discoveryv1.LabelManagedBy] = "somebody"
	if _, err := client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), apiServers("192.0.2.1 192.0.2.2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*discoveryv1.EndpointSlice{dead, living, foreign} {
		if _, err := slices.Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually.Is(t, 5*time.Second, "slices", func() int { return len(server.source.Slices("kube-system", "kube-dns")) }, 5)
	if _, err := client.DiscoveryV1().EndpointSlices("default").Update(t.Context(), apiServers("192.0.2.2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	names := func() string {
		list, err := slices.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range list.Items {
			out = append(out, s.Name)
		}
		return fmt.Sprint(out)
	}
	eventually.Is(t, 5*time.Second, "slices left", names, "[foreign kube-dns---1 kube-dns-127-0-0-1 living]")
	stop()
	for _, name := range []string{"foreign", "living"} {
		if err := slices.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := slices.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("left behind: %v %v", list.Items, err)
	}
}

func await(t *testing.T, get func(context.Context, string, metav1.GetOptions) (*discoveryv1.EndpointSlice, error), name string) *discoveryv1.EndpointSlice {
	t.Helper()
	var slice *discoveryv1.EndpointSlice
	eventually.True(t, 10*time.Second, "EndpointSlice "+name, func() bool {
		var err error
		slice, err = get(t.Context(), name, metav1.GetOptions{})
		return err == nil
	})
	return slice
}

func lookup(t *testing.T, network, to, name string, kind uint16) string {
	t.Helper()
	client := dns.Client{Net: network}
	m, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, kind), to)
	if err != nil {
		return err.Error()
	}
	var got []string
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			got = append(got, rr.A.String())
		case *dns.AAAA:
			got = append(got, rr.AAAA.String())
		}
	}
	return fmt.Sprint(dns.RcodeToString[m.Rcode], " ", got)
}

// A long answer over UDP is cut to what the client takes, and says so; over TCP it is whole.
func TestTruncate(t *testing.T) {
	s := testServer(known{services: []*corev1.Service{svc("many", "None IPv4")}, slices: []*discoveryv1.EndpointSlice{many()}})
	for _, tt := range []struct {
		name string
		over net.Addr
		size uint16
		cut  bool
		most int
	}{
		{"UDP", &net.UDPAddr{}, 0, true, 512},
		{"UDP, EDNS0", &net.UDPAddr{}, 1232, true, 1232},
		{"UDP, EDNS0 with too large a size", &net.UDPAddr{}, 65000, true, 1232},
		{"UDP, EDNS0 with too small a size", &net.UDPAddr{}, 12, true, 512},
		{"TCP", &net.TCPAddr{}, 0, false, dns.MaxMsgSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ask := new(dns.Msg).SetQuestion("many.default.svc.cluster.local.", dns.TypeA)
			if tt.size != 0 {
				ask.SetEdns0(tt.size, false)
			}
			w := &client{over: tt.over}
			s.handle(t.Context(), w, ask)
			reply := w.message(t)
			if len(w.packet) > tt.most || reply.Truncated != tt.cut || !tt.cut && len(reply.Answer) != 200 || (reply.IsEdns0() != nil) != (tt.size != 0) {
				t.Errorf("%d bytes, %d answers, truncated %t", len(w.packet), len(reply.Answer), reply.Truncated)
			}
		})
	}
}

// client keeps the packet that it is sent.
type client struct {
	dns.ResponseWriter
	over   net.Addr
	packet []byte
}

func (c *client) RemoteAddr() net.Addr { return c.over }

func (c *client) Write(packet []byte) (int, error) {
	c.packet = packet
	return len(packet), nil
}

func (c *client) message(t *testing.T) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(c.packet); err != nil {
		t.Fatalf("%v: %x", err, c.packet)
	}
	return m
}

// testServer knows a cluster and nobody else.
func testServer(source Source) *Server {
	s := &Server{zone: testZone, source: source, forwarder: newForwarder(), metrics: newMetrics(), config: Config{Dial: dial}}
	s.routing.now.Store(&routes{})
	return s
}

func many() *discoveryv1.EndpointSlice {
	text := ""
	for i := range 200 {
		text += fmt.Sprintf("10.244.0.%d ", i+1)
	}
	return slice("many", text)
}

// A client that keeps its connection open does not keep the server from ending.
func TestEndWithClients(t *testing.T) {
	s := testServer(cluster())
	ctx, cancel := context.WithCancel(t.Context())
	address := netip.MustParseAddr("127.0.0.1")
	udp, tcp, err := s.listen(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.answer(ctx, udp, tcp) }()
	conn, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	question := new(dns.Msg).SetQuestion("a.default.svc.cluster.local.", dns.TypeA)
	ask := func() error {
		if err := c.WriteMsg(question); err != nil {
			return err
		}
		_, err := c.ReadMsg()
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for answered := 0; ; answered++ {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("got %v", err)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
		if err := ask(); err == nil && answered > 20 {
			t.Fatal("answers go on")
		}
	}
}
