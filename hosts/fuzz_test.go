package hosts

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// entry is one line of a hosts file as the resolver reads it.
type entry struct {
	ip    string
	names []string
}

// parse reads a hosts file as resolvers do: words apart by blanks, # begins a comment. A line that
// does not begin with an address makes it fail.
func parse(t *testing.T, text []byte) []entry {
	t.Helper()
	var out []entry
	for l := range strings.Lines(string(text)) {
		l, ended := strings.CutSuffix(l, "\n")
		if !ended {
			t.Errorf("line %q does not end", l)
		}
		l, _, _ = strings.Cut(l, "#")
		words := strings.Fields(l)
		if len(words) == 0 {
			continue
		}
		if _, err := netip.ParseAddr(words[0]); err != nil {
			t.Errorf("line %q: %v", l, err)
		}
		out = append(out, entry{words[0], words[1:]})
	}
	return out
}

// FuzzRender: a Pod that validation accepts gets a file whose every line reads back as exactly one
// address and the names asked for, and nothing else; a Pod that it refuses gets no line whose
// address it did not ask for.
func FuzzRender(f *testing.F) {
	f.Add("nginx", "default", "", "", "", "10.1.2.3 foo.remote bar.remote\n::1 six", true, true, false)
	f.Add("web-0", "prod", "web-0", "web", "", "127.0.0.1", false, true, false)
	f.Add(strings.Repeat("a", 62)+".b", "x", "", "s", "db.example.com", "10.1.2.3 a a\n10.1.2.3 b", true, false, true)
	f.Add("evil\n10.0.0.1", "x", "h\t", "#", "", "10.1.2.3\x0010.0.0.1 evil\n10.1.2 x#y", true, true, true)
	f.Fuzz(func(t *testing.T, name, ns, hostname, subdomain, override, aliases string, v4, v6, hostNetwork bool) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}}
		p.Spec.Hostname, p.Spec.Subdomain = hostname, subdomain
		if override != "" {
			p.Spec.HostnameOverride = &override
		}
		for l := range strings.SplitSeq(aliases, "\n") {
			words := strings.Split(l, " ")
			p.Spec.HostAliases = append(p.Spec.HostAliases, corev1.HostAlias{IP: words[0], Hostnames: words[1:]})
		}
		var ips []netip.Addr
		if v4 {
			ips = append(ips, netip.MustParseAddr("10.200.0.4"))
		}
		if v6 {
			ips = append(ips, netip.MustParseAddr("fd00:10:200::4"))
		}
		file, want := For(p, ips, "cluster.local"), wanted(p, ips)
		if hostNetwork {
			file, want = ForHostNetwork(p, []byte("127.0.0.1 localhost\n")), append([]entry{{"127.0.0.1", []string{"localhost"}}}, asked(p)...)
		}
		text := Render(file)
		if accepted(p) {
			got := parse(t, text)
			if !slices.EqualFunc(got, want, func(a, b entry) bool { return a.ip == b.ip && slices.Equal(a.names, b.names) }) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			return
		}
		for l := range strings.Lines(string(text)) {
			l, _, _ = strings.Cut(l, "#")
			if words := strings.Fields(l); len(words) > 0 && !slices.ContainsFunc(want, func(e entry) bool { return e.ip == words[0] }) {
				t.Errorf("line %q was not asked for", l)
			}
		}
	})
}

// wanted is the file of a Pod with its own network, put together another way than Render does it.
func wanted(p *corev1.Pod, ips []netip.Addr) []entry {
	want := []entry{
		{"127.0.0.1", []string{"localhost"}},
		{"::1", []string{"localhost", "ip6-localhost", "ip6-loopback"}},
		{"fe00::0", []string{"ip6-localnet"}},
		{"fe00::0", []string{"ip6-mcastprefix"}},
		{"fe00::1", []string{"ip6-allnodes"}},
		{"fe00::2", []string{"ip6-allrouters"}},
	}
	host, domain := Name(p, "cluster.local")
	for _, ip := range ips {
		e := entry{ip.String(), []string{host}}
		if domain != "" {
			e.names = []string{host + "." + domain, host}
		}
		want = append(want, e)
	}
	return append(want, asked(p)...)
}

func asked(p *corev1.Pod) []entry {
	var out []entry
	for _, a := range p.Spec.HostAliases {
		out = append(out, entry{a.IP, a.Hostnames})
	}
	return out
}

// accepted tells whether the API's validation lets the Pod's names pass (C3, C5).
func accepted(p *corev1.Pod) bool {
	var errs []string
	errs = append(errs, validation.IsDNS1123Subdomain(p.Name)...)
	errs = append(errs, validation.IsDNS1123Label(p.Namespace)...)
	for _, label := range []string{p.Spec.Hostname, p.Spec.Subdomain} {
		if label != "" {
			errs = append(errs, validation.IsDNS1123Label(label)...)
		}
	}
	if o := p.Spec.HostnameOverride; o != nil {
		errs = append(errs, validation.IsDNS1123Subdomain(*o)...)
	}
	for _, a := range p.Spec.HostAliases {
		if len(validation.IsValidIPForLegacyField(field.NewPath("ip"), a.IP, true, nil)) > 0 {
			errs = append(errs, a.IP)
		}
		for _, name := range a.Hostnames {
			errs = append(errs, validation.IsDNS1123Subdomain(name)...)
		}
	}
	return len(errs) == 0
}
