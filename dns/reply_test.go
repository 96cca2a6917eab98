package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
)

// What is not a question for us is said no to, and how.
func TestRefusal(t *testing.T) {
	const name = "Dual.Default.svc.cluster.LOCAL."
	for _, tt := range []struct {
		name   string
		change func(*dns.Msg)
		want   string
	}{
		{"a question", func(*dns.Msg) {}, "NOERROR authoritative, 1 answers"},
		{"EDNS0", func(m *dns.Msg) { m.SetEdns0(4096, true) }, "NOERROR authoritative, 1 answers, EDNS 0 size 1232 do true"},
		{"EDNS1", func(m *dns.Msg) { m.SetEdns0(4096, false); m.IsEdns0().SetVersion(1) }, "BADVERS, 0 answers, EDNS 0 size 1232 do false"},
		{"the whole zone", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }, "REFUSED, 0 answers"},
		{"the zone's changes", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR }, "REFUSED, 0 answers"},
		{"another class", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "NOTIMP, 0 answers"},
		{"no query", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, "NOTIMP, 0 answers"},
		{"an answer", func(m *dns.Msg) { m.Response = true }, "FORMERR, 0 answers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := new(dns.Msg).SetQuestion(name, dns.TypeA)
			tt.change(m)
			w := &client{over: &net.UDPAddr{}}
			testServer(cluster()).handle(t.Context(), w, m)
			reply := w.message(t)
			got := codeName(reply.Rcode)
			if reply.Authoritative {
				got += " authoritative"
			}
			got += fmt.Sprintf(", %d answers", len(reply.Answer))
			if opt := reply.IsEdns0(); opt != nil {
				got += fmt.Sprintf(", EDNS %d size %d do %t", opt.Version(), opt.UDPSize(), opt.Do())
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if reply.Question[0] != m.Question[0] {
				t.Errorf("answers %v to %v", reply.Question, m.Question)
			}
			for _, rr := range reply.Answer {
				if rr.Header().Name != name {
					t.Errorf("the name in the answer is %s, not as it was asked", rr.Header().Name)
				}
			}
		})
	}
}

// The first question after the watch has brought a change gets the new answer: nothing is computed
// or kept beside the watched objects.
func TestChangeIsAnsweredAtOnce(t *testing.T) {
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	factory := informers.NewSharedInformerFactory(client, 0)
	core, discovery := factory.Core().V1(), factory.Discovery().V1()
	s, err := New(Deps{
		Client: client, Namespaces: core.Namespaces(), Services: core.Services(), Pods: core.Pods(), Slices: discovery.EndpointSlices(),
		CIDRs: factory.Networking().V1().ServiceCIDRs(), Events: record.NewFakeRecorder(1),
	}, Config{Domain: "cluster.local", Addresses: []netip.Addr{netip.IPv6Loopback()}})
	if err != nil {
		t.Fatal(err)
	}
	questions := map[string]uint16{
		"web.default.svc.cluster.local.": dns.TypeA, "9.0.96.10.in-addr.arpa.": dns.TypePTR,
		"a.pods.default.svc.cluster.local.": dns.TypeAAAA, "fd00-244--9.default.pod.cluster.local.": dns.TypeAAAA,
	}
	told := make(chan string, 10)
	tell := func(any) {
		got := ""
		for name, kind := range questions {
			reply, _ := s.reply(t.Context(), new(dns.Msg).SetQuestion(name, kind))
			got += fmt.Sprintf("%s %s\n", strings.Split(name, ".")[0], answerOf(reply))
		}
		told <- got
	}
	for _, i := range []cache.SharedIndexInformer{core.Services().Informer(), core.Pods().Informer(), discovery.EndpointSlices().Informer()} {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) }, DeleteFunc: tell}); err != nil {
			t.Fatal(err)
		}
	}
	background.Synced(t, factory)
	after := func(what, want string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := <-told; !strings.Contains(got, want+"\n") {
			t.Errorf("%s: got\n%swant %s", what, got, want)
		}
	}
	ctx, v1 := t.Context(), client.CoreV1()
	_, err = v1.Services("default").Create(ctx, svc("web", "10.96.0.9"), metav1.CreateOptions{})
	after("Service created", "web NOERROR 10.96.0.9", err)
	_, err = v1.Services("default").Update(ctx, svc("web", "10.96.0.8"), metav1.UpdateOptions{})
	after("Service changed", "9 NXDOMAIN", err)
	err = v1.Services("default").Delete(ctx, "web", metav1.DeleteOptions{})
	after("Service deleted", "web NXDOMAIN", err)
	_, err = v1.Services("default").Create(ctx, svc("pods", "None IPv4 IPv6"), metav1.CreateOptions{})
	after("headless", "a NXDOMAIN", err)
	ready := slice("pods", "fd00:244::9=a")
	ready.Name = "pods-1"
	_, err = client.DiscoveryV1().EndpointSlices("default").Create(ctx, ready, metav1.CreateOptions{})
	after("endpoint ready", "a NOERROR fd00:244::9", err)
	gone := slice("pods", "!fd00:244::9=a")
	gone.Name = "pods-1"
	_, err = client.DiscoveryV1().EndpointSlices("default").Update(ctx, gone, metav1.UpdateOptions{})
	after("endpoint not ready", "a NXDOMAIN", err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.0.9"}, {IP: "fd00:244::9"}}}}
	_, err = v1.Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	after("Pod has addresses", "fd00-244--9 NOERROR fd00:244::9", err)
	pod.Status.Phase = corev1.PodSucceeded
	_, err = v1.Pods("default").Update(ctx, pod, metav1.UpdateOptions{})
	after("Pod has ended", "fd00-244--9 NXDOMAIN", err)
}

// Metrics count by transport, type, code and who knew.
func TestMetrics(t *testing.T) {
	u := newUpstream(t, says("2001:db8::1"))
	s := forwarding(u.at)
	s.source = cluster()
	registry := prometheus.NewRegistry()
	if err := s.metrics.register(registry); err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		name string
		kind uint16
		over net.Addr
	}{
		{"v4.default.svc.cluster.local.", dns.TypeA, &net.UDPAddr{}},
		{"v4.default.svc.cluster.local.", dns.TypeA, &net.TCPAddr{}},
		{"none.default.svc.cluster.local.", dns.TypeAAAA, &net.UDPAddr{}},
		{"example.com.", dns.TypeAAAA, &net.UDPAddr{}},
		{"v4.default.svc.cluster.local.", dns.TypeMX, &net.UDPAddr{}},
		{"v4.default.svc.cluster.local.", 65280, &net.UDPAddr{}},
	} {
		s.handle(t.Context(), &client{over: q.over}, new(dns.Msg).SetQuestion(q.name, q.kind))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			got += fmt.Sprintf("%s %s %.0f\n", f.GetName(), strings.Join(labels, " "), m.GetCounter().GetValue()+float64(m.GetHistogram().GetSampleCount()))
		}
	}
	want := `duet_dns_request_duration_seconds cluster 5
duet_dns_request_duration_seconds forward 1
duet_dns_responses_total cluster udp NXDOMAIN AAAA 1
duet_dns_responses_total cluster tcp NOERROR A 1
duet_dns_responses_total cluster udp NOERROR A 1
duet_dns_responses_total cluster udp NOERROR other 2
duet_dns_responses_total forward udp NOERROR AAAA 1
`
	sorted := func(s string) string {
		lines := strings.Split(s, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if sorted(got) != sorted(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if err := newMetrics().register(registry); err != nil { // the next server of this process
		t.Error(err)
	}
}

// FuzzHandle sends any packet: what comes back, if anything, is an answer to the question that was
// asked, of names that it leads to, and fits.
func FuzzHandle(f *testing.F) {
	seed := func(name string, kind uint16, change func(*dns.Msg)) {
		m := new(dns.Msg).SetQuestion(name, kind)
		if change != nil {
			change(m)
		}
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	const d = ".default.svc.cluster.local."
	seed("dual"+d, dns.TypeA, nil)
	seed("DUAL"+d, dns.TypeAAAA, func(m *dns.Msg) { m.SetEdns0(4096, true) })
	seed("_web._tcp.headless"+d, dns.TypeSRV, nil)
	seed("_._."+d[1:], dns.TypeSRV, nil)
	seed("chain"+d, dns.TypeANY, nil)
	seed("circle"+d, dns.TypeA, nil)
	seed("outside"+d, dns.TypeA, nil)
	seed("cluster.local.", dns.TypeSOA, nil)
	seed("svc.cluster.local.", dns.TypeNS, nil)
	seed("fd00-244--5.default.pod.cluster.local.", dns.TypeAAAA, nil)
	seed(arpa("fd00:96::2"), dns.TypePTR, nil)
	seed("1.2.3.in-addr.arpa.", dns.TypePTR, nil)
	seed("cluster.local.", dns.TypeAXFR, nil)
	seed("dual"+d, dns.TypeA, func(m *dns.Msg) { m.SetEdns0(0, false); m.IsEdns0().SetVersion(9) })
	seed("dual"+d, dns.TypeA, func(m *dns.Msg) { m.SetTsig("key.", dns.HmacSHA256, 300, 0) })
	seed(`\000\.\255`+d, dns.TypeA, nil)
	f.Add([]byte{})
	s := testServer(cluster())
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		for _, over := range []net.Addr{&net.UDPAddr{}, &net.TCPAddr{}} {
			w := &client{over: over}
			s.handle(t.Context(), w, m.Copy())
			if w.packet != nil {
				checkReply(t, m, w.packet)
			}
		}
	})
}

func checkReply(t *testing.T, m *dns.Msg, packet []byte) {
	t.Helper()
	reply := new(dns.Msg)
	if err := reply.Unpack(packet); err != nil {
		t.Fatalf("cannot be read: %v: %x", err, packet)
	}
	if !reply.Response || reply.Id != m.Id {
		t.Fatalf("not an answer to this message: %v", reply)
	}
	if len(m.Question) != 1 {
		if len(reply.Answer) > 0 {
			t.Fatalf("answers to no question: %v", reply)
		}
		return
	}
	if len(reply.Question) != 1 || reply.Question[0] != m.Question[0] {
		t.Fatalf("another question: %v for %v", reply.Question, m.Question)
	}
	owner := m.Question[0].Name
	for _, rr := range reply.Answer {
		if kind := rr.Header().Rrtype; rr.Header().Name != owner || kind != m.Question[0].Qtype && kind != dns.TypeCNAME && m.Question[0].Qtype != dns.TypeANY {
			t.Fatalf("was not asked for: %v, asked %v", rr, m.Question)
		}
		if alias, ok := rr.(*dns.CNAME); ok {
			owner = alias.Target
		}
	}
}

// FuzzRelay lets an upstream say anything: what we make of it fits the client's question, and
// nothing of it ends this process.
func FuzzRelay(f *testing.F) {
	reply := says("192.0.2.1")("udp", new(dns.Msg).SetQuestion("example.com.", dns.TypeA))[0]
	for _, change := range []func(*dns.Msg){
		func(*dns.Msg) {},
		func(m *dns.Msg) { m.SetEdns0(4096, true) },
		func(m *dns.Msg) { m.SetTsig("key.", dns.HmacSHA256, 300, 0) },
		func(m *dns.Msg) { m.Rcode = dns.RcodeNameError; m.Ns = []dns.RR{authority("com.")} },
	} {
		m := reply.Copy()
		change(m)
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		answer := new(dns.Msg)
		if answer.Unpack(packet) != nil {
			return
		}
		m := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
		out := relay(m, answer)
		out.Truncate(dns.MinMsgSize)
		if packed, err := out.Pack(); err == nil && (len(packed) > dns.MinMsgSize || out.Question[0] != m.Question[0] || out.Id != m.Id) {
			t.Fatalf("%d bytes: %v", len(packed), out)
		}
	})
}
