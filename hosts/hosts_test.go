package hosts

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/test/golden"
)

// What the golden tables combine; one file for each way a Pod can be named.
var (
	stacks = []struct {
		name string
		ips  []netip.Addr
	}{
		{"v4", addrs("10.200.0.4")},
		{"v6", addrs("fd00:10:200::4")},
		{"v4+v6", addrs("10.200.0.4", "fd00:10:200::4")},
		{"v6+v4", addrs("fd00:10:200::4", "10.200.0.4")},
	}
	aliasLists = []struct {
		name string
		list []corev1.HostAlias
	}{
		{"none", nil},
		{"some", []corev1.HostAlias{
			{IP: "127.0.0.1", Hostnames: []string{"foo.local", "bar.local"}},
			{IP: "10.1.2.3", Hostnames: []string{"foo.remote", "bar.remote"}},
			{IP: "2001:DB8::0:1", Hostnames: []string{"six.remote"}},
		}},
		{"duplicates", []corev1.HostAlias{
			{IP: "10.1.2.3", Hostnames: []string{"b", "a", "b"}},
			{IP: "10.1.2.3", Hostnames: []string{"a"}},
		}},
		{"without names", []corev1.HostAlias{{IP: "10.1.2.3"}, {IP: "::1", Hostnames: []string{}}}},
	}
	podNames = []struct {
		file string
		pod  corev1.Pod
	}{
		{"plain", pod("nginx", corev1.PodSpec{})},
		{"hostname", pod("nginx", corev1.PodSpec{Hostname: "web-0"})},
		{"subdomain", pod("nginx", corev1.PodSpec{Subdomain: "web"})},
		{"hostname-subdomain", pod("nginx", corev1.PodSpec{Hostname: "web-0", Subdomain: "web"})},
		{"fqdn", pod("nginx", corev1.PodSpec{Hostname: "web-0", Subdomain: "web", SetHostnameAsFQDN: new(true)})},
		{"override", pod("nginx", corev1.PodSpec{Hostname: "web-0", Subdomain: "web", HostnameOverride: new("db.example.com")})},
		{"long", pod(strings.Repeat("a", 62)+"-b", corev1.PodSpec{})},
		{"long-subdomain", pod(strings.Repeat("a", 61)+".-"+strings.Repeat("b", 190), corev1.PodSpec{Subdomain: strings.Repeat("s", 63)})},
		{"long-override", pod("nginx", corev1.PodSpec{HostnameOverride: new(strings.Repeat("o", 62) + ".x")})},
	}
)

const nodeFile = "127.0.0.1 localhost\n192.0.2.1\tworker0 # by hand\n"

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func pod(name string, spec corev1.PodSpec) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: spec}
}

// C1-C3: every way to name a Pod, with every stack, network and list of aliases.
func TestRender(t *testing.T) {
	for _, n := range podNames {
		t.Run(n.file, func(t *testing.T) {
			var got bytes.Buffer
			for _, aliases := range aliasLists {
				p := n.pod
				p.Spec.HostAliases = aliases.list
				for _, s := range stacks {
					fmt.Fprintf(&got, "==> pod network, %s, aliases: %s\n%s", s.name, aliases.name, Render(For(&p, s.ips, "cluster.local")))
				}
				want := Render(ForHostNetwork(&p, []byte(nodeFile)))
				fmt.Fprintf(&got, "==> host network, aliases: %s\n%s", aliases.name, want)
			}
			golden.Check(t, "testdata/"+n.file+".txt", got.Bytes())
		})
	}
}

// The page itself, byte for byte (C1).
func TestRenderPage(t *testing.T) {
	p := pod("hostaliases-pod", corev1.PodSpec{HostAliases: aliasLists[1].list[:2]})
	want := "# Kubernetes-managed hosts file.\n" +
		"127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\n" +
		"fe00::0\tip6-mcastprefix\n" +
		"fe00::1\tip6-allnodes\n" +
		"fe00::2\tip6-allrouters\n" +
		"10.200.0.5\thostaliases-pod\n" +
		"\n" +
		"# Entries added by HostAliases.\n" +
		"127.0.0.1\tfoo.local\tbar.local\n" +
		"10.1.2.3\tfoo.remote\tbar.remote\n"
	if got := string(Render(For(&p, addrs("10.200.0.5"), "cluster.local"))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// C2.1: a node's file without a newline at its end.
func TestRenderHostNetworkWithoutNewline(t *testing.T) {
	p := pod("p", corev1.PodSpec{HostAliases: []corev1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"a"}}}})
	want := "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n# Entries added by HostAliases.\n10.1.2.3\ta\n"
	if got := string(Render(ForHostNetwork(&p, []byte("127.0.0.1 localhost")))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Whatever gets past validation, no line appears that nobody asked for.
func TestRenderRefusesToBreakLines(t *testing.T) {
	p := pod("evil\n10.0.0.1\tbank", corev1.PodSpec{HostAliases: []corev1.HostAlias{
		{IP: "10.1.2.3", Hostnames: []string{"ok", "foo\n10.0.0.1 evil", "a b", "", "x#y", "ctl\x01", "fine"}},
		{IP: "10.1.2.3 bank\n10.0.0.1", Hostnames: []string{"evil"}},
		{IP: "", Hostnames: []string{"evil"}},
	}})
	want := boilerplate + "10.200.0.4\t\n" + aliasHeader + "10.1.2.3\tok\tfine\n"
	if got := string(Render(For(&p, addrs("10.200.0.4"), "cluster.local"))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestName(t *testing.T) {
	for _, tt := range []struct {
		name         string
		pod          corev1.Pod
		host, domain string
	}{
		{"pod's name", pod("web", corev1.PodSpec{}), "web", ""},
		{"hostname", pod("web", corev1.PodSpec{Hostname: "h"}), "h", ""},
		{"subdomain", pod("web", corev1.PodSpec{Subdomain: "s"}), "web", "s.default.svc.cluster.local"},
		{"63 characters stay", pod(strings.Repeat("a", 63), corev1.PodSpec{}), strings.Repeat("a", 63), ""},
		{"64 are cut", pod(strings.Repeat("a", 64), corev1.PodSpec{}), strings.Repeat("a", 63), ""},
		{"no dash at the end", pod(strings.Repeat("a", 60)+"-.-b", corev1.PodSpec{}), strings.Repeat("a", 60), ""},
		{"override wins", pod("web", corev1.PodSpec{Hostname: "h", Subdomain: "s", HostnameOverride: new("o.example")}), "o.example", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, domain := Name(&tt.pod, "cluster.local")
			if host != tt.host || domain != tt.domain {
				t.Errorf("got %q, %q; want %q, %q", host, domain, tt.host, tt.domain)
			}
		})
	}
}

func TestLost(t *testing.T) {
	for _, tt := range []struct {
		name               string
		found, wrote, next string
		want               []string
	}{
		{"untouched", "a\nb\n", "a\nb\n", "a\nb\n", nil},
		{"a line added", "a\nb\n192.0.2.9 edited\n", "a\nb\n", "a\nb\n", []string{"192.0.2.9 edited"}},
		{"without newline", "a\nx", "a\n", "a\n", []string{"x"}},
		{"a line removed is none lost", "a\n", "a\nb\n", "a\nb\n", nil},
		{"a line changed", "a\nb2\n", "a\nb\n", "a\nb\n", []string{"b2"}},
		{"own line gone in the next", "a\nold\n", "a\nold\n", "a\nnew\n", nil},
		{"an edit that the next has too", "a\nb\n", "a\n", "a\nb\n", nil},
		{"copied line", "a\na\n", "a\n", "a\n", []string{"a"}},
		{"empty lines", "a\n\n\n \n", "a\n", "a\n", nil},
		{"not remembered", "a\nx\n", "", "a\n", []string{"x"}},
		{"emptied", "", "a\n", "a\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Lost([]byte(tt.found), []byte(tt.wrote), []byte(tt.next)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLostMessage(t *testing.T) {
	const head = "Edits of /etc/hosts are lost when a container starts; use hostAliases instead. Lines lost: "
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"one", []string{"192.0.2.9 edited"}, head + `"192.0.2.9 edited"`},
		{"two", []string{"a\tb", "c"}, head + `"a\tb", "c"`},
		{"unprintable", []string{"a\x00\xff"}, head + `"a\x00\xff"`},
		{"one too long", []string{strings.Repeat("x", 2000)}, head + "1"},
		{"the second too long", []string{"a", strings.Repeat("x", 2000), "c"}, head + `"a" and 2 more`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := LostMessage(tt.lines); got != tt.want || len(got) > maxMessage {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// manyAliases has 10,000 lines of two names.
func manyAliases() []corev1.HostAlias {
	var list []corev1.HostAlias
	for i := range 10_000 {
		list = append(list, corev1.HostAlias{
			IP:        fmt.Sprintf("10.%d.%d.1", i/250, i%250),
			Hostnames: []string{fmt.Sprintf("host-%d.example.com", i), fmt.Sprintf("host-%d", i)},
		})
	}
	return list
}

func TestRenderManyAliases(t *testing.T) {
	p := pod("p", corev1.PodSpec{HostAliases: manyAliases()})
	lines := strings.Split(string(Render(For(&p, stacks[2].ips, "cluster.local"))), "\n")
	if got, want := len(lines), 7+2+2+10_000+1; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	if got, want := lines[len(lines)-2], "10.39.249.1\thost-9999.example.com\thost-9999"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
}

func BenchmarkRender(b *testing.B) {
	for _, bb := range []struct {
		name    string
		aliases []corev1.HostAlias
	}{{"plain", nil}, {"10000 aliases", manyAliases()}} {
		b.Run(bb.name, func(b *testing.B) {
			p := pod("p", corev1.PodSpec{HostAliases: bb.aliases})
			b.ReportAllocs()
			for b.Loop() {
				Render(For(&p, stacks[2].ips, "cluster.local"))
			}
		})
	}
}

func BenchmarkLost(b *testing.B) {
	p := pod("p", corev1.PodSpec{HostAliases: manyAliases()})
	own := Render(For(&p, stacks[2].ips, "cluster.local"))
	edited := append(slices.Clone(own), "192.0.2.9\tedited\n"...)
	b.ReportAllocs()
	for b.Loop() {
		Lost(edited, own, own)
	}
}
