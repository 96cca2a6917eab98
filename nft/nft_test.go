package nft

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) }

func open(t *testing.T) *Table {
	t.Helper()
	sandbox.Need(t)
	table, err := Open("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Remove(); err != nil {
			t.Error(err)
		}
		_ = table.Close()
	})
	return table
}

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestRanges(t *testing.T) {
	for list, want := range map[string]string{
		"":                               "",
		"10.0.0.0/8":                     "10.0.0.0 11.0.0.0)",
		"10.0.0.0/8 10.1.0.0/16":         "10.0.0.0 11.0.0.0)",
		"10.1.0.0/16 10.0.0.0/8":         "10.0.0.0 11.0.0.0)",
		"10.0.0.0/9 10.128.0.0/9":        "10.0.0.0 11.0.0.0)",
		"10.0.0.0/16 10.2.0.0/16":        "10.0.0.0 10.1.0.0) 10.2.0.0 10.3.0.0)",
		"0.0.0.0/0":                      "0.0.0.0",
		"192.0.2.7/24 255.0.0.0/8":       "192.0.2.0 192.0.3.0) 255.0.0.0",
		"fd00::/64 fd00:0:0:1::/64":      "fd00:: fd00:0:0:2::)",
		"::/0 fd00::/8":                  "::",
		"2001:db8::1/128 2001:db8::/127": "2001:db8:: 2001:db8::2)",
	} {
		var got []string
		for _, e := range Ranges(prefixes(list)) {
			a, _ := netip.AddrFromSlice([]byte(e.Key))
			got = append(got, a.String()+map[bool]string{true: ")"}[e.End])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", list, got, want)
		}
	}
}

// What is written is read back the same, and IsOutOfStep tells when it is not what was thought.
func TestElements(t *testing.T) {
	table := open(t)
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	sets := []Set{
		{Name: "ranges", Key: []Type{Addr4}, Interval: true},
		{Name: "addresses", Key: []Type{Addr6}},
		{Name: "services", Key: []Type{Addr6, Proto, Port}, Data: []Type{Class}},
		{Name: "endpoints", Key: []Type{Class, Index}, Data: []Type{Addr4, Port}},
		{Name: "verdicts", Key: []Type{Class}, Data: []Type{Verdict}},
	}
	want := map[string][]Element{
		"ranges":    Ranges(prefixes("10.0.0.0/8 192.0.2.0/24")),
		"addresses": {{Key: Bytes(v6)}},
		"services":  {{Key: Bytes(v6, uint8(6), uint16(80)), Data: Bytes(uint32(7))}, {Key: Bytes(v6, uint8(17), uint16(53)), Data: Bytes(uint32(8))}},
		"endpoints": {{Key: Bytes(uint32(7), uint32(0)), Data: Bytes(v4, uint16(8080))}},
		"verdicts":  {{Key: Bytes(uint32(1)), Verdict: Jump{Chain: "a"}}, {Key: Bytes(uint32(2)), Verdict: Jump{Chain: "a", Goto: true}}, {Key: Bytes(uint32(3))}},
	}
	for i := range uint32(3000) { // more than fit a message
		want["endpoints"] = append(want["endpoints"], Element{Key: Bytes(9+i, uint32(0)), Data: Bytes(v4, uint16(i))}) //nolint:gosec // few
	}
	schema := Schema{Sets: sets, Chains: []Chain{{Name: "a", Rules: []Rule{Drop()}}, {Name: "b", Hook: Output}}}
	for range 2 { // the second time over the first
		if err := table.Rebuild(schema, want); err != nil {
			t.Fatal(err)
		}
	}
	read := func(set string) (got []Element) {
		if err := table.Elements(set, func(e Element) { got = append(got, e) }); err != nil {
			t.Fatal(err)
		}
		order := func(a, b Element) int { return strings.Compare(a.Key, b.Key) }
		slices.SortFunc(got, order)
		slices.SortFunc(want[set], order)
		return got
	}
	for _, s := range sets {
		same := false
		for try := 0; try < 20 && !same; try++ { // while the kernel makes the set larger
			same = slices.Equal(read(s.Name), want[s.Name])
		}
		if !same {
			t.Errorf("%s: got %+v", s.Name, read(s.Name))
		}
	}

	first := want["services"][0]
	other := Element{Key: first.Key, Data: Bytes(uint32(99))}
	if err := table.Apply(Changes{Remove: map[string][]Element{"services": {first}}, Add: map[string][]Element{"services": {other}}}); err != nil {
		t.Error(err)
	}
	for name, wrong := range map[string]Changes{
		"there with other data": {Add: map[string][]Element{"services": {first}, "addresses": {{Key: Bytes(netip.IPv6Loopback())}}}},
		"not there":             {Remove: map[string][]Element{"addresses": {{Key: Bytes(netip.IPv6Loopback())}}}},
		"no chain":              {RemoveChains: []string{"c"}},
	} {
		err := table.Apply(wrong)
		if err == nil || !IsOutOfStep(err) || !strings.Contains(err.Error(), "change nftables table test: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := table.Apply(Changes{Add: map[string][]Element{"none": {first}}}); err == nil || IsOutOfStep(err) {
		t.Errorf("no set: %v", err)
	}
	if got := read("addresses"); len(got) != 1 {
		t.Errorf("a change that failed has left something: %+v", got)
	}
}

func TestIntact(t *testing.T) {
	table := open(t)
	build := func() {
		t.Helper()
		if err := table.Rebuild(Schema{
			Sets:   []Set{{Name: "s", Key: []Type{Addr4}}},
			Chains: []Chain{{Name: "a", Rules: []Rule{Drop(), Join(IsFamily(dualstack.IPv4), IsTransport(), Drop())}}, {Name: "b"}},
		}, nil); err != nil {
			t.Fatal(err)
		}
	}
	intact := func() bool {
		t.Helper()
		ok, err := table.Intact()
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	build()
	if !intact() {
		t.Error("not intact at first")
	}
	if err := table.Apply(Changes{AddChains: []Chain{{Name: "c", Rules: []Rule{Drop()}}}}); err != nil || !intact() {
		t.Errorf("not intact after a change: %v", err)
	}
	if err := table.Apply(Changes{RemoveChains: []string{"c"}}); err != nil || !intact() {
		t.Errorf("not intact after another change: %v", err)
	}
	sandbox.Run(t, "nft", "add table inet other; add chain inet other a; add rule inet other a drop; add element inet test s { 192.0.2.1 }")
	if !intact() {
		t.Error("not intact after what is none of its rules")
	}
	for _, damage := range []string{
		"flush ruleset", "delete table inet test", "flush chain inet test a", "add rule inet test b accept", "insert rule inet test a accept",
		"delete chain inet test b", "add chain inet test d", "delete set inet test s", "delete table inet test; add table inet test",
	} {
		build()
		sandbox.Run(t, "nft", damage)
		if intact() {
			t.Errorf("intact after %s", damage)
		}
	}
}

// Watch tells of others' changes of this table and of nothing else.
func TestWatch(t *testing.T) {
	table := open(t)
	schema := Schema{Sets: []Set{{Name: "s", Key: []Type{Addr4}}}, Chains: []Chain{{Name: "a"}}}
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan struct{}, 1000), make(chan error)
	go func() { done <- table.Watch(ctx, func() { changes <- struct{}{} }) }()
	sandbox.Run(t, "nft", "add table inet test")
	for len(changes) == 0 { // until it watches
		sandbox.Run(t, "nft", "add set inet test x { type ipv4_addr; }; delete set inet test x")
	}
	quiet := func() { // takes what is under way: events keep their order
		t.Helper()
		for n := 0; n == 0; n = len(changes) {
			time.Sleep(10 * time.Millisecond)
		}
		for len(changes) > 0 {
			<-changes
			time.Sleep(10 * time.Millisecond)
		}
	}
	quiet()
	for range 3 {
		if err := table.Rebuild(schema, nil); err != nil {
			t.Fatal(err)
		}
		if err := table.Apply(Changes{Add: map[string][]Element{"s": {{Key: Bytes(netip.MustParseAddr("192.0.2.1"))}}}}); err != nil {
			t.Fatal(err)
		}
		sandbox.Run(t, "nft", "add table inet other; add table ip test; delete table inet other; delete table ip test")
	}
	time.Sleep(100 * time.Millisecond)
	if len(changes) > 0 {
		t.Error("told of a change of its own, or of another table")
	}
	for _, damage := range []string{"add element inet test s { 192.0.2.2 }", "flush ruleset"} {
		if err := table.Rebuild(schema, nil); err != nil {
			t.Fatal(err)
		}
		sandbox.Run(t, "nft", damage)
		quiet()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
