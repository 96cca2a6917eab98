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
	for _, s := range strings.Fields(list) {
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
		{name: "asks for a taken one", pools: both, families: "IPv4", requested: "172.30.0.193", taken: "172.30.0.193",
			want: " [AddressTaken: the requested address 172.30.0.193 belongs to another Service]"},
		{name: "asks for one outside", pools: both, families: "IPv4 IPv6", requested: "192.0.2.1",
			want: "fd00:172:30::f000 [AddressOutsidePool: the requested address 192.0.2.1 is in no pool]"},
		{name: "asks for one of a family it has not", pools: both, families: "IPv4", requested: "fd00:172:30::f000",
			want: "172.30.0.192 [AddressInvalid: the requested address fd00:172:30::f000 is IPv6, which the Service is not]"},
		{name: "exhausted, takes what exists", pools: both, families: "IPv4 IPv6", taken: "172.30.0.192 172.30.0.193",
			want: "fd00:172:30::f000 [PoolExhausted: no IPv4 address is free in any pool]"},
		{name: "no pool, takes what exists", pools: "172.30.0.192/31", families: "IPv6 IPv4", want: "172.30.0.192 [NoPool: no pool has IPv6 addresses]"},
		{name: "no pool, must have both", pools: "172.30.0.192/31", families: "IPv6 IPv4", all: true, want: " [NoPool: no pool has IPv6 addresses]"},
		{name: "held one is in no pool any more", pools: both, families: "IPv4", held: "10.0.0.1", want: "172.30.0.192"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := Wish{All: row.all, Requested: addrs(row.requested), Held: addrs(row.held)}
			for _, f := range strings.Fields(row.families) {
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

func TestCheck(t *testing.T) {
	ps := pools(t, "172.30.0.192/26,fd00:172:30::f000/116")
	others := map[string][]netip.Prefix{"Pods": {netip.MustParsePrefix("10.244.0.0/16")}}
	if err := ps.Check(others); err != nil {
		t.Error(err)
	}
	others["Pods"] = append(others["Pods"], netip.MustParsePrefix("fd00:172::/32"))
	want := "load balancer pool pool0: fd00:172:30::f000/116 overlaps fd00:172::/32 of the Pods"
	if err := ps.Check(others); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
