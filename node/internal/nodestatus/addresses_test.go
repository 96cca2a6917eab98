package nodestatus

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
)

func addrs(list string) []netip.Addr {
	var out []netip.Addr
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// machine is written down as one line for each address, "LINK ADDRESS/BITS [dynamic|temporary]
// [deprecated] [pending]", and "default LINK [v6] [METRIC]" before them. Links are numbered as eth0 = 10, eth1 = 11 …
func machine(t *testing.T, text string) hostnet.State {
	t.Helper()
	index := func(link string) int { return 10 + int(link[len(link)-1]-'0') }
	var s hostnet.State
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		switch {
		case len(f) == 0:
		case f[0] == "default":
			d := hostnet.Default{Index: index(f[1])}
			for _, w := range f[2:] {
				if w == "v6" {
					d.IPv6 = true
				} else {
					d.Metric = int(number(w))
				}
			}
			s.Defaults = append(s.Defaults, d)
		default:
			a := hostnet.Address{Link: f[0], Index: index(f[0]), Prefix: netip.MustParsePrefix(f[1])}
			for _, w := range f[2:] {
				switch w {
				case "dynamic":
					a.Lifetime = hostnet.Dynamic
				case "temporary":
					a.Lifetime = hostnet.Temporary
				case "deprecated":
					a.Deprecated = true
				case "pending":
					a.Pending = true
				default:
					t.Fatalf("%q", w)
				}
			}
			s.Addresses = append(s.Addresses, a)
		}
	}
	return s
}

// D2.1-D2.3, and the first table of the specification: both families without being told.
func TestChoose(t *testing.T) {
	const lab = "lo0 127.0.0.1/8\nlo0 ::1/128\neth0 172.30.0.3/24\neth0 fd00:172:30::3/64\neth0 fe80::1/64\n"
	for _, tt := range []struct {
		name, machine, want, err string
		given, current, pods     string
		families                 []dualstack.Family
	}{
		{name: "both families without default routes", machine: lab, want: "172.30.0.3 fd00:172:30::3"},
		{name: "the Pods' primary family first", machine: lab, families: []dualstack.Family{dualstack.IPv6, dualstack.IPv4}, want: "fd00:172:30::3 172.30.0.3"},
		{name: "a single-stack Pod network", machine: lab, families: []dualstack.Family{dualstack.IPv6}, want: "fd00:172:30::3 172.30.0.3"},
		{name: "one family only", machine: "eth0 192.0.2.1/24\neth0 fe80::1/64", want: "192.0.2.1"},
		{name: "nothing", machine: "lo0 127.0.0.1/8"},
		{name: "not the bridge's", machine: "br0 10.244.0.1/24\neth1 192.0.2.1/24", pods: "10.244.0.0/24", want: "192.0.2.1"},
		{name: "the link of the default route", machine: "default eth1\ndocker0 172.17.0.1/16\neth1 192.0.2.1/24", want: "192.0.2.1"},
		{name: "the smaller metric", machine: "default eth0 600\ndefault eth1 100\neth0 192.0.2.1/24\neth1 192.0.2.2/24", want: "192.0.2.2"},
		{name: "IPv6 without a route out stays beside IPv4", machine: "default eth1\nbr0 fd00::1/64\neth1 192.0.2.1/24\neth1 2001:db8::1/64", want: "192.0.2.1 2001:db8::1"},
		{name: "static, dynamic, temporary", machine: "eth0 2001:db8::3/64 temporary\neth0 2001:db8::2/64 dynamic\neth0 2001:db8::1/64", want: "2001:db8::1"},
		{name: "dynamic before temporary", machine: "eth0 2001:db8::3/64 temporary\neth0 2001:db8::9/64 dynamic", want: "2001:db8::9"},
		{name: "temporary if there is no other", machine: "eth0 2001:db8::3/64 temporary", want: "2001:db8::3"},
		{name: "deprecated last", machine: "eth0 2001:db8::1/64 deprecated\neth0 2001:db8::9/64 temporary", want: "2001:db8::9"},
		{name: "not before it is sure to be unique", machine: "eth0 2001:db8::1/64 pending"},
		{name: "the present one stays", machine: "eth0 2001:db8::1/64 dynamic\neth0 2001:db8::2/64 dynamic", current: "2001:db8::2", want: "2001:db8::2"},
		{name: "but not a temporary one", machine: "eth0 2001:db8::1/64 dynamic\neth0 2001:db8::2/64 temporary", current: "2001:db8::2", want: "2001:db8::1"},
		{name: "global before unique local", machine: "eth0 fd00::1/64\neth0 2001:db8::2/64", want: "2001:db8::2"},

		{name: "--node-ip, one", machine: lab, given: "fd00:172:30::3", want: "fd00:172:30::3"},
		{name: "--node-ip, a pair in its order", machine: lab, given: "fd00:172:30::3 172.30.0.3", want: "fd00:172:30::3 172.30.0.3"},
		{name: "--node-ip ::", machine: lab, given: "::", want: "fd00:172:30::3 172.30.0.3"},
		{name: "--node-ip 0.0.0.0", machine: lab, given: "0.0.0.0", families: []dualstack.Family{dualstack.IPv6}, want: "172.30.0.3 fd00:172:30::3"},
		{name: "not there", machine: lab, given: "192.0.2.1", err: `node IP: "192.0.2.1" not found in the host's network interfaces`},
		{name: "loopback", machine: lab, given: "127.0.0.1", err: "nodeIP can't be loopback address"},
		{name: "multicast", machine: lab, given: "ff02::1", err: "nodeIP can't be a multicast address"},
		{name: "link-local", machine: lab, given: "fe80::1", err: "nodeIP can't be a link-local unicast address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Preference{Given: addrs(tt.given), Families: tt.families, Current: addrs(tt.current)}
			if tt.pods != "" {
				p.Pods = []netip.Prefix{netip.MustParsePrefix(tt.pods)}
			}
			got, err := Choose(machine(t, tt.machine), p)
			if text := strings.ReplaceAll(dualstack.Join(got), ",", " "); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}
