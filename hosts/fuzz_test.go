package hosts_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/apiserver/defaults"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/hosts"
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

// FuzzRender: a Pod that the API server's own validation accepts gets a file whose every line reads
// back as exactly one address and the names asked for, and nothing else; a Pod that it refuses gets
// no line whose address it did not ask for. In aliases, \xff ends a line and \xfe a word, so that
// anything else may be in one.
func FuzzRender(f *testing.F) {
	const node = "127.0.0.1 localhost\n10.9.9.9\tnode # itself\n"
	f.Add("nginx", "default", "", "", "", "10.1.2.3\xfefoo.remote\xfebar.remote\xff::1\xfesix", true, true, false, false)
	f.Add("web-0", "prod", "web-0", "web", "", "127.0.0.1", false, true, false, true)
	f.Add(strings.Repeat("a", 62)+".b", "x", "", "s", "db.example.com", "10.1.2.3\xfea\xfea\xff10.1.2.3\xfeb", true, false, true, false)
	f.Add(strings.Repeat("a", 62)+"-"+strings.Repeat("b", 60), "x", "", "s", "", "::ffff:10.1.2.3\xfea\xffFD00::1\xfea", true, true, false, true)
	f.Add("p", "x", "", "", strings.Repeat("a.", 31)+"b", "fe80::1%eth0\xfea", true, true, false, false)
	f.Add("evil\n10.0.0.1", "x", "h\t", "#", "", "10.1.2.3\x0010.0.0.1\xfeevil\xff10.1.2\xfex#y", true, true, true, false)
	f.Add("p", "x", "", "", "", "10.1.2.3\n10.0.0.1\xfea\n10.0.0.2\xfeb c\xfe", false, false, false, false)
	f.Fuzz(func(t *testing.T, name, ns, hostname, subdomain, override, aliases string, v4, v6, hostNetwork, fqdn bool) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}}
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
		p.Spec.Hostname, p.Spec.Subdomain, p.Spec.HostNetwork = hostname, subdomain, hostNetwork
		if override != "" {
			p.Spec.HostnameOverride = &override
		}
		if fqdn {
			p.Spec.SetHostnameAsFQDN = &fqdn
		}
		for l := range strings.SplitSeq(aliases, "\xff") {
			words := strings.Split(l, "\xfe")
			p.Spec.HostAliases = append(p.Spec.HostAliases, corev1.HostAlias{IP: words[0], Hostnames: words[1:]})
		}
		var ips []netip.Addr
		if v4 {
			ips = append(ips, netip.MustParseAddr("10.200.0.4"))
		}
		if v6 {
			ips = append(ips, netip.MustParseAddr("fd00:10:200::4"))
		}
		file, want := hosts.For(p, ips, "cluster.local"), wanted(p, ips)
		if hostNetwork {
			file = hosts.ForHostNetwork(p, []byte(node))
			want = append([]entry{{"127.0.0.1", []string{"localhost"}}, {"10.9.9.9", []string{"node"}}}, asked(p)...)
		}
		text := hosts.Render(file)
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
	host, domain := hosts.Name(p, "cluster.local")
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

// accepted tells whether the API server takes the Pod, by its own rules (C3, C5).
func accepted(p *corev1.Pod) bool {
	p = p.DeepCopy()
	defaults.Pod(p)
	errs := validation.ValidateObjectMeta(&p.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	return len(append(errs, kinds.ValidatePod(p, nil)...)) == 0
}

// TestAccepted: what is fuzzed above is accepted by the rules for the names it has, not refused for
// something else.
func TestAccepted(t *testing.T) {
	for alias, want := range map[string]bool{"10.1.2.3": true, "fd00::1": true, "::ffff:10.1.2.3": false, "10.1.2.3\n": false, "fe80::1%eth0": false, "": false} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}}
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
		p.Spec.HostAliases = []corev1.HostAlias{{IP: alias, Hostnames: []string{"a.b"}}}
		if got := accepted(p); got != want {
			t.Errorf("%q: %t, want %t", alias, got, want)
		}
	}
}
