package nodes

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/cluster"
)

// TestStubDomains: a Pod finds names that servers outside the cluster's DNS know, of either family or
// both, as ConfigMap kube-dns says; what it says wrong becomes an event and changes nothing. A server
// that was killed knows it all again.
func TestStubDomains(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--nodes", "1")
	l.Create(t, cluster.Busybox("client", cluster.Forever))
	l.Ready(t, "client")
	node, err := l.Client.CoreV1().Nodes().Get(t.Context(), "worker0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var v4, v6 string
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			at := netip.AddrPortFrom(addr, 5300).String()
			serveNames(t, l.Namespace("worker0"), at)
			if addr.Is4() {
				v4 = at
			} else {
				v6 = at
			}
		}
	}
	write := func(stubs string) {
		t.Helper()
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-dns"}, Data: map[string]string{"stubDomains": stubs}}
		maps := l.Client.CoreV1().ConfigMaps("kube-system")
		if _, err := maps.Update(t.Context(), m, metav1.UpdateOptions{}); err == nil {
			return
		}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	finds := func(name string) {
		t.Helper()
		cluster.Eventually(t, name+" is found", func() string {
			out, _ := l.Run("kubectl", "exec", "client", "--", "nslookup", name)
			if strings.Contains(out, "Address: 192.0.2.80\n") && strings.Contains(out, "Address: 2001:db8::80\n") {
				return ""
			}
			return out
		})
	}
	for i, servers := range [][]string{{v4}, {v6}, {v4, v6}, {v6, v4}} {
		domain := fmt.Sprintf("corp%d.example", i)
		write(fmt.Sprintf(`{%q: ["%s"]}`, domain, strings.Join(servers, `", "`)))
		finds("www." + domain)
	}
	write(`{"corp3.example": ["dns.example"]}`)
	cluster.Eventually(t, "an event on the ConfigMap", func() string {
		out := l.Must(t, "kubectl", "get", "events", "-n", "kube-system", "--field-selector", "involvedObject.name=kube-dns,reason=InvalidDNSConfiguration")
		if strings.Contains(out, `data[stubDomains][corp3.example][0]: Invalid value: "dns.example"`) {
			return ""
		}
		return out
	})
	finds("still.corp3.example")
	write(fmt.Sprintf(`{"corp4.example": [%q]}`, v6))
	finds("www.corp4.example")
	l.Kill(t, cluster.Server, "")
	l.Up(t)
	finds("again.corp4.example")
}

// serveNames answers A and AAAA of every name, in a network namespace of the lab.
func serveNames(t *testing.T, namespace, at string) {
	t.Helper()
	var socket net.PacketConn
	err := hostnet.Within(namespace, func() (err error) {
		socket, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(func() { socket.Close(); group.Wait() })
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		reply, h := new(dns.Msg).SetReply(m), dns.RR_Header{Name: m.Question[0].Name, Rrtype: m.Question[0].Qtype, Class: dns.ClassINET, Ttl: 1}
		switch h.Rrtype {
		case dns.TypeA:
			reply.Answer = []dns.RR{&dns.A{Hdr: h, A: net.ParseIP("192.0.2.80")}}
		case dns.TypeAAAA:
			reply.Answer = []dns.RR{&dns.AAAA{Hdr: h, AAAA: net.ParseIP("2001:db8::80")}}
		}
		_ = w.WriteMsg(reply)
	})}
	group.Go(func() { _ = server.ActivateAndServe() })
}
