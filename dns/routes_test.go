package dns

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

func TestNameservers(t *testing.T) {
	got := fmt.Sprint(nameservers([]byte("# nameserver 192.0.2.9\n;nameserver 192.0.2.8\nnameserver 127.0.0.53\nnameserver\tfe80::1%eth0 # router\nnameserver x\nnameserver\nsearch nameserver 192.0.2.7\noptions edns0\nnameserver 2001:db8::53")))
	if want := "[127.0.0.53:53 [fe80::1%eth0]:53 [2001:db8::53]:53]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What the ConfigMap says, and what it is told about what it may not say.
func TestCustom(t *testing.T) {
	us := func(at netip.AddrPort) bool { return at.Addr() == netip.MustParseAddr("10.96.0.10") }
	for _, tt := range []struct{ name, stubs, upstream, want string }{
		{"nothing", "", "", ""},
		{"v4", `{"corp.example": ["192.0.2.53"]}`, `["192.0.2.1"]`, "corp.example. 192.0.2.53:53; upstream 192.0.2.1:53"},
		{"v6", `{"corp.example": ["2001:db8::53"]}`, `["2001:db8::1"]`, "corp.example. [2001:db8::53]:53; upstream [2001:db8::1]:53"},
		{"v4+v6", `{"corp.example": ["192.0.2.53", "2001:db8::53"]}`, "", "corp.example. 192.0.2.53:53 [2001:db8::53]:53"},
		{"v6+v4, ports", `{"Corp.Example.": ["[2001:db8::53]:5353", "192.0.2.53:5353"]}`, "", "corp.example. [2001:db8::53]:5353 192.0.2.53:5353"},
		{"a reverse tree", `{"2.0.192.in-addr.arpa": ["192.0.2.53"]}`, "", "2.0.192.in-addr.arpa. 192.0.2.53:53"},
		{"no JSON", `corp.example 192.0.2.53`, "", "data[stubDomains]: Invalid value"},
		{"more than JSON", `{} {}`, "", "data[stubDomains]: Invalid value"},
		{"a wrong kind of JSON", `["192.0.2.53"]`, `{"a": "b"}`, "data[stubDomains]: Invalid value; data[upstreamNameservers]: Invalid value"},
		{"no domain", `{"a_b": ["192.0.2.53"]}`, "", "data[stubDomains][a_b]: Invalid value"},
		{"no domain at all", `{"": ["192.0.2.53"]}`, "", "data[stubDomains][]: Invalid value"},
		{"our own", `{"svc.cluster.local": ["192.0.2.53"]}`, "", "data[stubDomains][svc.cluster.local]: Invalid value"},
		{"no servers", `{"corp.example": []}`, "", "data[stubDomains][corp.example]: Required value"},
		{"a name for a server", `{"corp.example": ["192.0.2.53", "dns.example"]}`, "", "data[stubDomains][corp.example][1]: Invalid value"},
		{"no server's address", "", `["0.0.0.0", "::", "ff02::1", "::ffff:192.0.2.1", "192.0.2.1:0"]`, "data[upstreamNameservers]: Too many; data[upstreamNameservers][0]: Invalid value; data[upstreamNameservers][1]: Invalid value; data[upstreamNameservers][2]: Invalid value; data[upstreamNameservers][3]: Invalid value; data[upstreamNameservers][4]: Invalid value"},
		{"a loop", `{"corp.example": ["10.96.0.10"]}`, `["10.96.0.10:53"]`, "data[stubDomains][corp.example][0]: Invalid value; data[upstreamNameservers][0]: Invalid value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, errs := custom(map[string]string{keyStubs: tt.stubs, keyNameservers: tt.upstream}, "cluster.local.", us)
			var texts []string
			for _, err := range errs {
				texts = append(texts, err.Field+": "+err.Type.String())
			}
			if len(errs) == 0 {
				for _, domain := range slices.Sorted(maps.Keys(s.stubs)) {
					texts = append(texts, domain+" "+strings.Trim(fmt.Sprint(s.stubs[domain]), "[]"))
				}
				if len(s.upstream) > 0 {
					texts = append(texts, "upstream "+strings.Trim(fmt.Sprint(s.upstream), "[]"))
				}
			}
			trim := func(s string) string { return strings.NewReplacer("[", "", "]", "").Replace(s) }
			if got := strings.Join(texts, "; "); trim(got) != trim(tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// The longest domain counts, labels as a whole, in any spelling.
func TestRoutes(t *testing.T) {
	at := func(text string) []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(text)} }
	all := settings{
		stubs:      map[string][]netip.AddrPort{"example.": at("192.0.2.1:53"), "corp.example.": at("[2001:db8::2]:53"), "us.example.": at("10.96.0.10:53")},
		resolvConf: append(at("127.0.0.1:53"), netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("192.0.2.3:53"), netip.MustParseAddrPort("192.0.2.4:53"), netip.MustParseAddrPort("192.0.2.5:53")),
	}
	us := func(at netip.AddrPort) bool { return at.Addr() == netip.MustParseAddr("10.96.0.10") }
	r, loops := route(all, dial, us)
	for name, want := range map[string]string{
		"example.": "[192.0.2.1:53]", "A.Example.": "[192.0.2.1:53]", "a.b.corp.EXAMPLE.": "[[2001:db8::2]:53]", "corp.example.": "[[2001:db8::2]:53]",
		"xcorp.example.": "[192.0.2.1:53]", "example.com.": "[127.0.0.1:53 192.0.2.3:53 192.0.2.4:53]", ".": "[127.0.0.1:53 192.0.2.3:53 192.0.2.4:53]", "us.example.": "[]",
	} {
		if got := fmt.Sprint(r.find(name).servers); got != want {
			t.Errorf("%s: asks %s, want %s", name, got, want)
		}
	}
	if fmt.Sprint(loops) != "[10.96.0.10:53 10.96.0.10:53]" {
		t.Errorf("loops: %v", loops)
	}
	all.upstream = at("192.0.2.9:53")
	if r, _ := route(all, dial, us); fmt.Sprint(r.others.servers) != "[192.0.2.9:53]" {
		t.Errorf("the administrator's servers do not replace the file's: %v", r.others.servers)
	}
	if r, _ := route(settings{}, dial, us); r.find("example.") != nil {
		t.Error("asks somebody without being told whom")
	}
}

// From ConfigMap and resolv.conf to answers, watched: bad content is told and leaves what was.
func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	a, b := newUpstream(t, says("192.0.2.1")), newUpstream(t, says("192.0.2.2"))
	events := record.NewFakeRecorder(10)
	kubeDNS := svc("kube-dns", "10.96.0.10")
	kubeDNS.Namespace = "kube-system"
	client := fake.NewClientset(kubeDNS)
	factory := informers.NewSharedInformerFactory(client, 0)
	core := factory.Core().V1()
	s, err := New(Deps{
		Client: client, Namespaces: core.Namespaces(), Services: core.Services(), Pods: core.Pods(),
		Slices: factory.Discovery().V1().EndpointSlices(), CIDRs: factory.Networking().V1().ServiceCIDRs(), Events: events,
	}, Config{Domain: "cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, ResolvConf: file})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, factory, s.Run)
	becomes := func(what, name, want string) {
		t.Helper()
		eventually.Is(t, 20*time.Second, what+": who is asked for "+name, func() string { return asks(s.routes().find(name)) }, want)
	}
	maps := client.CoreV1().ConfigMaps("kube-system")
	version := 0
	write := func(stubs, upstream string) {
		t.Helper()
		version++
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Namespace: "kube-system", ResourceVersion: fmt.Sprint(version)}, Data: map[string]string{keyStubs: stubs, keyNameservers: upstream}}
		if _, err := maps.Update(t.Context(), m, metav1.UpdateOptions{}); err == nil {
			return
		}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	becomes("no file", "example.com.", "nobody")
	put("nameserver 192.0.2.53\n")
	becomes("a file", "example.com.", "192.0.2.53:53")
	put("nameserver 2001:db8::53\nnameserver 10.96.0.10\n")
	becomes("a file replaced, with a loop", "example.com.", "[2001:db8::53]:53")
	write(`{"corp.example": ["`+a.at+`"]}`, `["`+b.at+`"]`)
	becomes("a ConfigMap", "x.corp.example.", a.at)
	becomes("a ConfigMap", "example.com.", b.at)
	if got := answerOf(ask(t, s, "x.corp.example.", dns.TypeA)) + ", " + answerOf(ask(t, s, "example.com.", dns.TypeA)); got != "NOERROR 192.0.2.1, NOERROR 192.0.2.2" {
		t.Error(got)
	}
	write(`{"corp.example": ["nobody"]}`, "")
	want := `Warning InvalidDNSConfiguration data[stubDomains][corp.example][0]: Invalid value: "nobody": must be the address of a server, or an address and a port such as 192.0.2.53:5353 or [2001:db8::53]:5353; what was valid before stays in use`
	if got := <-events.Events; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	becomes("bad content", "x.corp.example.", a.at)
	becomes("bad content", "example.com.", b.at)
	write(`{"corp.example": ["`+b.at+`"]}`, "")
	becomes("healed", "x.corp.example.", b.at)
	becomes("healed", "example.com.", "[2001:db8::53]:53")
	if err := maps.Delete(t.Context(), "kube-dns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("gone", "x.corp.example.", "[2001:db8::53]:53")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	becomes("file gone", "x.corp.example.", "nobody")
	select {
	case e := <-events.Events:
		t.Errorf("one more event: %s", e)
	default:
	}
}

func asks(to *upstreams) string {
	if to == nil {
		return "nobody"
	}
	return strings.Join(to.servers, " ")
}
