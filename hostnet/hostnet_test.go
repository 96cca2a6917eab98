package hostnet

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/duetk8s/duet/nft"
	"github.com/duetk8s/duet/test/golden"
	"github.com/duetk8s/duet/test/sandbox"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// veth makes a pair of links with addresses at one end.
func veth(t *testing.T, name string, addresses ...string) {
	t.Helper()
	sandbox.Need(t)
	sandbox.Run(t, "ip", "link", "add", name, "type", "veth", "peer", "name", name+"p")
	t.Cleanup(func() {
		if err := RemoveLink(name); err != nil {
			t.Error(err)
		}
	})
	sandbox.Run(t, "ip", "link", "set", name+"p", "up")
	sandbox.Run(t, "ip", "link", "set", name, "up")
	for _, a := range addresses {
		sandbox.Run(t, "ip", append([]string{"addr", "add"}, append(strings.Fields(a), "dev", name)...)...)
	}
}

func TestTable(t *testing.T) {
	sandbox.Need(t)
	table, err := nft.Open(TableName)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for _, tt := range []struct {
		name  string
		table Table
	}{
		{"none", Table{}},
		{"v4", Table{Local: prefixes("10.244.0.0/24"), Inside: prefixes("10.244.0.0/24", "10.244.1.0/24", "172.30.0.3/32")}},
		{"v6", Table{Local: prefixes("fd00:10:244::/64"), Inside: prefixes("fd00:10:244::/56", "fd00:10:244:1::/64")}},
		{"dual", Table{
			Local:  prefixes("10.244.0.0/24", "fd00:10:244::/64"),
			Inside: prefixes("10.244.0.0/24", "fd00:10:244::/64", "10.244.0.0/24"),
			Ports: []HostPort{
				{Protocol: 6, Port: 8080, To: netip.MustParseAddrPort("10.244.0.5:80")},
				{Protocol: 6, Port: 8080, To: netip.MustParseAddrPort("[fd00:10:244::5]:80")},
				{Protocol: 6, At: netip.MustParseAddr("127.0.0.1"), Port: 8081, To: netip.MustParseAddrPort("10.244.0.5:80")},
				{Protocol: 6, At: netip.MustParseAddr("::1"), Port: 8081, To: netip.MustParseAddrPort("[fd00:10:244::5]:80")},
				{Protocol: 17, At: netip.MustParseAddr("172.30.0.3"), Port: 53, To: netip.MustParseAddrPort("10.244.0.6:53")},
			},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time over the first
				if err := table.Rebuild(tt.table.Rules()); err != nil {
					t.Fatal(err)
				}
			}
			golden.Check(t, "testdata/table-"+tt.name+".golden", sandbox.Run(t, "nft", "list", "table", "inet", TableName))
		})
	}
	for range 2 {
		if err := table.Remove(); err != nil {
			t.Error(err)
		}
	}
	if out := sandbox.Run(t, "nft", "list", "ruleset"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

func TestRoutes(t *testing.T) {
	veth(t, "r0", "172.30.0.3/24", "fd00:172:30::3/64 nodad")
	sandbox.Run(t, "ip", "route", "add", "10.9.0.0/24", "via", "172.30.0.9") // somebody else's
	route := func(to, via string) Route {
		return Route{netip.MustParsePrefix(to), netip.MustParseAddr(via)}
	}
	for _, tt := range []struct {
		name, want, err string
		routes          []Route
	}{
		{
			name: "both families", routes: []Route{route("10.244.1.0/24", "172.30.0.4"), route("fd00:10:244:1::/64", "fd00:172:30::4")},
			want: "10.244.1.0/24 via 172.30.0.4|fd00:10:244:1::/64 via fd00:172:30::4",
		},
		{
			name: "another gateway", routes: []Route{route("10.244.1.0/24", "172.30.0.5"), route("fd00:10:244:1::/64", "fd00:172:30::5")},
			want: "10.244.1.0/24 via 172.30.0.5|fd00:10:244:1::/64 via fd00:172:30::5",
		},
		{
			name: "one is impossible", routes: []Route{route("10.244.1.0/24", "192.0.2.1"), route("10.244.2.0/24", "172.30.0.5")},
			want: "10.244.1.0/24 via 172.30.0.5|10.244.2.0/24 via 172.30.0.5", err: "route to 10.244.1.0/24 via 192.0.2.1: network is unreachable",
		},
		{name: "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := SetRoutes(tt.routes)
			if err == nil != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			var got []string
			for _, f := range []string{"-4", "-6"} {
				for line := range strings.Lines(sandbox.Run(t, "ip", f, "route", "show", "proto", "146")) {
					line, _, _ = strings.Cut(line, " dev")
					got = append(got, line)
				}
			}
			if strings.Join(got, "|") != tt.want {
				t.Errorf("got %q, want %q", strings.Join(got, "|"), tt.want)
			}
		})
	}
	if out := sandbox.Run(t, "ip", "route", "show", "10.9.0.0/24"); out == "" {
		t.Error("another's route is gone")
	}
}

// A fallback counts only where there is no other route, not even a default.
func TestLinkRoutes(t *testing.T) {
	veth(t, "k0", "172.30.0.3/24", "fd00:172:30::3/64 nodad")
	veth(t, "k1", "172.30.1.3/24", "fd00:172:31::3/64 nodad")
	index := func(name string) int {
		link, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return link.Index
	}
	fallback := func(to string) LinkRoute { return LinkRoute{To: netip.MustParsePrefix(to), Index: index("k0")} }
	local := func(to string) LinkRoute {
		return LinkRoute{To: netip.MustParsePrefix(to), Index: Loopback, Local: true}
	}
	ways := func() string {
		var out []string
		for _, to := range []string{"10.96.0.1", "10.97.0.1", "192.0.0.8", "fd00:10:96::1", "fd00:10:97::1", "100::ff00"} {
			text, err := exec.CommandContext(t.Context(), "ip", "route", "get", to).CombinedOutput()
			_, link, _ := strings.Cut(string(text), "dev ")
			link, _, _ = strings.Cut(link, " ")
			if err != nil {
				link = "-"
			}
			out = append(out, link)
		}
		return strings.Join(out, " ")
	}
	sandbox.Run(t, "ip", "link", "set", "lo", "up")
	first := []LinkRoute{fallback("10.96.0.0/16"), local("192.0.0.8/32"), fallback("fd00:10:96::/112"), local("100::ff00/128")}
	for _, step := range []struct {
		name, want string
		do         func() error
	}{
		{"nothing", "- - - - - -", func() error { return nil }},
		{"all", "k0 - lo k0 - lo", func() error { return SetLinkRoutes(first) }},
		{"again", "k0 - lo k0 - lo", func() error { return SetLinkRoutes(first) }},
		{"some change", "- k0 lo - k0 lo", func() error {
			return ChangeLinkRoutes([]LinkRoute{fallback("10.97.0.0/16"), fallback("fd00:10:97::/112")}, []LinkRoute{first[0], first[2]})
		}},
		{"and again", "- k0 lo - k0 lo", func() error {
			return ChangeLinkRoutes([]LinkRoute{fallback("10.97.0.0/16"), fallback("fd00:10:97::/112")}, []LinkRoute{first[0], first[2]})
		}},
		{"somebody's default", "k1 k1 lo k1 k1 lo", func() error {
			sandbox.IP(t, "route add default via 172.30.1.1\n-6 route add default via fd00:172:31::1")
			return nil
		}},
		{"no default", "- k0 lo - k0 lo", func() error {
			sandbox.IP(t, "route del default\n-6 route del default")
			return nil
		}},
		{"all replaced", "k0 - - - - lo", func() error { return SetLinkRoutes([]LinkRoute{first[0], first[3]}) }},
		{"none", "- - - - - -", func() error { return SetLinkRoutes(nil) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := ways(); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
	if err := ChangeLinkRoutes([]LinkRoute{{To: netip.MustParsePrefix("10.98.0.0/16"), Index: 999}}, nil); err == nil {
		t.Error("no error for a link that is none")
	}
}

func TestReadAndWatch(t *testing.T) {
	veth(t, "w0", "172.30.0.3/24", "fd00:172:30::3/64 nodad", "fd00:172:30::77/64 nodad valid_lft 3600 preferred_lft 0")
	sandbox.Run(t, "ip", "route", "add", "default", "via", "172.30.0.1", "metric", "7")
	s, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Address{}
	for _, a := range s.Addresses {
		got[a.Prefix.String()] = a
	}
	for text, want := range map[string]Address{
		"172.30.0.3/24":      {Lifetime: Static},
		"fd00:172:30::3/64":  {Lifetime: Static},
		"fd00:172:30::77/64": {Lifetime: Dynamic, Deprecated: true},
	} {
		a, ok := got[text]
		if !ok || a.Lifetime != want.Lifetime || a.Deprecated != want.Deprecated || a.Link != "w0" || a.MTU != 1500 {
			t.Errorf("%s: %+v", text, a)
		}
	}
	if len(s.Defaults) != 1 || s.Defaults[0].IPv6 || s.Defaults[0].Metric != 7 {
		t.Errorf("default routes: %+v", s.Defaults)
	}

	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan struct{}, 100), make(chan error)
	go func() { done <- Watch(ctx, func() { changes <- struct{}{} }) }()
	<-changes // the first
	sandbox.Run(t, "ip", "addr", "add", "172.30.0.99/24", "dev", "w0")
	<-changes
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBridge(t *testing.T) {
	sandbox.Need(t)
	t.Cleanup(func() {
		for range 2 {
			if err := RemoveLink("duet0"); err != nil {
				t.Error(err)
			}
		}
	})
	show := func() string {
		out := sandbox.Run(t, "ip", "-br", "addr", "show", "dev", "duet0")
		return regexp.MustCompile(` +`).ReplaceAllString(strings.TrimSpace(out), " ")
	}
	for range 2 {
		if err := (Bridge{"duet0", 1400, prefixes("10.244.0.1/24", "fd00:10:244::1/64")}).Set(); err != nil {
			t.Fatal(err)
		}
	}
	if got := show(); !strings.Contains(got, "10.244.0.1/24 fd00:10:244::1/64") {
		t.Error(got)
	}
	if out := sandbox.Run(t, "ip", "addr", "show", "dev", "duet0"); strings.Contains(out, "tentative") || !strings.Contains(out, "mtu 1400") {
		t.Error(out)
	}
	if err := (Bridge{"duet0", 1300, prefixes("10.244.7.1/24")}).Set(); err != nil {
		t.Fatal(err)
	}
	if got := show(); !strings.Contains(got, "10.244.7.1/24") || strings.Contains(got, "10.244.0.1") || strings.Contains(got, "244::1") {
		t.Error(got)
	}
}

// A host that learned its way out from a router must keep it when it begins to forward.
func TestForward(t *testing.T) {
	veth(t, "f0")
	veth(t, "f1")
	for name, value := range map[string]string{"f0/accept_ra": "1", "f1/accept_ra": "1"} {
		if err := SetSysctl("net/ipv6/conf/"+name, value); err != nil {
			t.Fatal(err)
		}
	}
	sandbox.Run(t, "ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "f0", "proto", "ra")
	if err := Forward(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"net/ipv6/conf/f0/accept_ra": "2", "net/ipv6/conf/f1/accept_ra": "1",
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
	} {
		if got, err := Sysctl(name); got != want || err != nil {
			t.Errorf("%s = %q (%v), want %q", name, got, err, want)
		}
	}
	if err := SetSysctl("net/none", "1"); err == nil || !strings.Contains(err.Error(), "net/none") {
		t.Errorf("error for a sysctl that is none: %v", err)
	}
	if err := SetSysctl("net/bridge/bridge-nf-call-iptables", "0"); err != nil {
		t.Skip("a kernel without br_netfilter")
	}
	if err := TranslateInBridges(); err != nil {
		t.Error(err)
	}
	if got, err := Sysctl("net/bridge/bridge-nf-call-iptables"); got != "1" || err != nil {
		t.Errorf("bridges are not translated in: %q, %v", got, err)
	}
}

func TestWithin(t *testing.T) {
	veth(t, "n0")
	sandbox.Run(t, "ip", "netns", "add", "duet-test-within")
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "duet-test-within").Run() })
	links := func(path string) string {
		var names []string
		if err := Within(path, func() error {
			list, err := net.Interfaces()
			for _, l := range list {
				names = append(names, l.Name)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		return strings.Join(names, " ")
	}
	for range 20 { // every thread comes back
		if got := links("/run/netns/duet-test-within"); got != "lo" {
			t.Errorf("inside: %s", got)
		}
		if got := links(""); !strings.Contains(got, "n0") {
			t.Errorf("outside: %s", got)
		}
	}
	if err := Within("/run/netns/absent", func() error { return nil }); err == nil || !strings.Contains(err.Error(), "/run/netns/absent") {
		t.Errorf("a namespace that is none: %v", err)
	}
}
