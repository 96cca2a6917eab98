package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/duetk8s/duet/dualstack"
)

func pools(t *testing.T, lists ...string) (ps Pools) {
	t.Helper()
	for i, l := range lists {
		pool := Pool{Name: fmt.Sprint("pool", i)}
		for p := range strings.SplitSeq(l, ",") {
			pool.Prefixes = append(pool.Prefixes, netip.MustParsePrefix(p))
		}
		ps = append(ps, pool)
	}
	return ps
}

func addrs(list string) (out []netip.Addr) {
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestAssign(t *testing.T) {
	const both = "172.30.0.192/31,fd00:172:30::f000/127"
	for _, row := range []struct {
		name, pools, families, requested, held, taken string
		all                                           bool
		want                                          string
	}{
		{name: "v4", pools: both, families: "IPv4", want: "172.30.0.192"},
		{name: "v6", pools: both, families: "IPv6", want: "fd00:172:30::f000"},
		{name: "v4+v6", pools: both, families: "IPv4 IPv6", want: "172.30.0.192 fd00:172:30::f000"},
		{name: "v6+v4", pools: both, families: "IPv6 IPv4", want: "fd00:172:30::f000 172.30.0.192"},
		{name: "the next free one", pools: both, families: "IPv4", taken: "172.30.0.192", want: "172.30.0.193"},
		{name: "keeps what it has", pools: both, families: "IPv4 IPv6", held: "172.30.0.193", want: "172.30.0.193 fd00:172:30::f000"},
		{name: "loses a family", pools: both, families: "IPv6", held: "172.30.0.193 fd00:172:30::f001", want: "fd00:172:30::f001"},
		{name: "asks for one", pools: both, families: "IPv4", requested: "172.30.0.193", held: "172.30.0.192", want: "172.30.0.193"},
		{
			name: "asks for a taken one", pools: both, families: "IPv4", requested: "172.30.0.193", taken: "172.30.0.193",
			want: " [AddressTaken: the requested address 172.30.0.193 belongs to another Service]",
		},
		{
			name: "asks for one outside", pools: both, families: "IPv4 IPv6", requested: "192.0.2.1",
			want: "fd00:172:30::f000 [AddressOutsidePool: the requested address 192.0.2.1 is in no pool]",
		},
		{
			name: "asks for one of a family it has not", pools: both, families: "IPv4", requested: "fd00:172:30::f000",
			want: "172.30.0.192 [AddressInvalid: the requested address fd00:172:30::f000 is IPv6, which the Service is not]",
		},
		{
			name: "exhausted, takes what exists", pools: both, families: "IPv4 IPv6", taken: "172.30.0.192 172.30.0.193",
			want: "fd00:172:30::f000 [PoolExhausted: no IPv4 address is free in any pool]",
		},
		{name: "no pool, takes what exists", pools: "172.30.0.192/31", families: "IPv6 IPv4", want: "172.30.0.192 [NoPool: no pool has IPv6 addresses]"},
		{name: "no pool, must have both", pools: "172.30.0.192/31", families: "IPv6 IPv4", all: true, want: " [NoPool: no pool has IPv6 addresses]"},
		{name: "held one is in no pool any more", pools: both, families: "IPv4", held: "10.0.0.1", want: "172.30.0.192"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := Wish{All: row.all, Requested: addrs(row.requested), Held: addrs(row.held)}
			for f := range strings.FieldsSeq(row.families) {
				w.Families = append(w.Families, dualstack.Family(f))
			}
			taken := map[netip.Addr]bool{}
			for _, a := range addrs(row.taken) {
				taken[a] = true
			}
			got, problems := pools(t, row.pools).Assign(w, func(a netip.Addr) bool { return taken[a] })
			text := strings.Trim(fmt.Sprint(got), "[]")
			for _, p := range problems {
				text += fmt.Sprintf(" [%s: %s]", p.Reason, p.Text)
			}
			if text != row.want {
				t.Errorf("got  %s\nwant %s", text, row.want)
			}
		})
	}
}

func TestParsePools(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"v4", "192.0.2.192/27", "192.0.2.192/27"},
		{"v6", "2001:db8::f000/116", "2001:db8::f000/116"},
		{"v4+v6", "192.0.2.192/27, 2001:db8::f000/116", "192.0.2.192/27 2001:db8::f000/116"},
		{"v6+v4", "2001:db8::f000/116\n192.0.2.192/27\n", "2001:db8::f000/116 192.0.2.192/27"},
		{"addresses", "192.0.2.7,2001:db8::7", "192.0.2.7/32 2001:db8::7/128"},
		{"nothing", " \n", " [pool office has no addresses, want e.g. 192.0.2.192/27, 2001:db8::f000/116]"},
		{"a range of another kind", "192.0.2.1-192.0.2.9 192.0.2.7", `192.0.2.7/32 [pool office: "192.0.2.1-192.0.2.9" is neither an address nor a prefix, want e.g. 192.0.2.192/27]`},
		{"bits beyond", "192.0.2.193/27", ` [pool office: "192.0.2.193/27" has bits set beyond the prefix length, want 192.0.2.192/27]`},
		{"mapped", "::ffff:192.0.2.0/120", ` [pool office: "::ffff:192.0.2.0/120" must not have an IPv4-mapped IPv6 address]`},
		{"multicast", "224.0.0.0/24 ff02::/64 fe80::/64 127.0.0.1 0.0.0.0/0", ` [pool office: "224.0.0.0/24" is no range of the nodes' network` +
			` pool office: "ff02::/64" is no range of the nodes' network pool office: "fe80::/64" is no range of the nodes' network` +
			` pool office: "127.0.0.1" is no range of the nodes' network pool office: "0.0.0.0/0" is no range of the nodes' network]`},
	} {
		t.Run(row.name, func(t *testing.T) {
			ps, errs := ParsePools(map[string]string{"office": row.text})
			text := ""
			if len(ps) > 0 {
				text = strings.Trim(fmt.Sprint(ps[0].Prefixes), "[]")
			}
			if len(errs) > 0 {
				text += " " + strings.ReplaceAll(fmt.Sprint(errs), "\n", " ")
			}
			if text != row.want {
				t.Errorf("got  %s\nwant %s", text, row.want)
			}
		})
	}
	ps, errs := ParsePools(map[string]string{"b": "192.0.2.1", "a": "192.0.2.2"})
	if len(errs) > 0 || len(ps) != 2 || ps[0].Name != "a" || ps[1].Name != "b" {
		t.Errorf("got %v, %v", ps, errs)
	}
}

// A prefix with somebody else's addresses gives nothing more, and says why; what is held stays.
func TestAgainst(t *testing.T) {
	others := []Range{
		{netip.MustParsePrefix("10.244.0.0/16"), "the Pods"},
		{netip.MustParsePrefix("fd00:10:96::/112"), "ServiceCIDR kubernetes"},
		{netip.MustParsePrefix("172.30.0.3/32"), "node worker0"},
	}
	for _, row := range []struct{ name, pool, family, requested, held, want string }{
		{"a node, v4", "172.30.0.0/24", "IPv4", "", "", " [PoolConflict: no pool has IPv4 addresses to give; not used: pool pool0: 172.30.0.0/24 has the address of node worker0]"},
		{"ClusterIPs, v6", "fd00:10::/32", "IPv6", "", "", " [PoolConflict: no pool has IPv6 addresses to give; not used: pool pool0: fd00:10::/32 overlaps fd00:10:96::/112 of ServiceCIDR kubernetes]"},
		{
			"v4+v6", "172.30.0.0/24,fd00:172:30::f000/116", "IPv4 IPv6", "", "",
			"fd00:172:30::f000 [PoolConflict: no pool has IPv4 addresses to give; not used: pool pool0: 172.30.0.0/24 has the address of node worker0]",
		},
		{
			"v6+v4", "10.244.7.0/24,fd00:172:30::f000/116", "IPv6 IPv4", "", "",
			"fd00:172:30::f000 [PoolConflict: no pool has IPv4 addresses to give; not used: pool pool0: 10.244.7.0/24 overlaps 10.244.0.0/16 of the Pods]",
		},
		{"another prefix", "172.30.0.0/24,172.30.1.0/24", "IPv4", "", "", "172.30.1.0"},
		{"held", "172.30.0.0/24", "IPv4", "", "172.30.0.9", "172.30.0.9"},
		{"requested and held", "172.30.0.0/24", "IPv4", "172.30.0.9", "172.30.0.9", "172.30.0.9"},
		{"requested", "172.30.0.0/24", "IPv4", "172.30.0.9", "", " [PoolConflict: the requested address 172.30.0.9 is not given: pool pool0: 172.30.0.0/24 has the address of node worker0]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ps, problems := pools(t, row.pool).Against(others)
			if len(problems) != 1 {
				t.Errorf("problems: %v", problems)
			}
			w := Wish{Requested: addrs(row.requested), Held: addrs(row.held)}
			for f := range strings.FieldsSeq(row.family) {
				w.Families = append(w.Families, dualstack.Family(f))
			}
			got, lacks := ps.Assign(w, func(netip.Addr) bool { return false })
			text := strings.Trim(fmt.Sprint(got), "[]")
			for _, p := range lacks {
				text += fmt.Sprintf(" [%s: %s]", p.Reason, p.Text)
			}
			if text != row.want {
				t.Errorf("got  %s\nwant %s", text, row.want)
			}
		})
	}
	if _, problems := pools(t, "172.30.0.192/26,fd00:172:30::f000/116").Against(others); len(problems) > 0 {
		t.Error(problems)
	}
}
