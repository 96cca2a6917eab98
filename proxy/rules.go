package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
)

// TableName is our table's: `nft list table inet duet-proxy`.
const TableName = "duet-proxy"

// A packet's priority serves as a register while its connection is translated. Its upper bits are the
// class, which says how to pick an endpoint; the lower bits the number of the Service's port, which
// says among which. nft prints 0x00200005 as 20:5.
const (
	classShift = 20
	idMask     = 1<<classShift - 1
	classMask  = ^uint32(idMask)

	// Classes up to maxPick are that many endpoints.
	maxPick = 2047
	// Classes from there are a number of endpoints and a time, see [sticky].
	firstSticky = maxPick + 1
	// Nobody answers at all.
	classRefuse = 0xffe
	// Somebody answers, but not here.
	classDrop = 0xfff
)

// A set's name for a family: "services-ipv4".
type kind string

const (
	kindServices       kind = "services"        // address . protocol . port → class and number
	kindNodePorts      kind = "nodeports"       // protocol . port → class and number
	kindLocalServices  kind = "local-services"  // the same for what comes from outside
	kindLocalNodePorts kind = "local-nodeports" // and keeps its source
	kindLoopback       kind = "loopback"        // protocol . port of node ports that have endpoints
	kindEndpoints      kind = "endpoints"       // number . index → address . port
	kindClasses        kind = "classes"         // class → chain
	kindClusterIPs     kind = "cluster-ips"     // all of them, for ports that are none
	kindHairpin        kind = "hairpin"         // Pod . the same Pod
	kindNumbers        kind = "numbers"         // class and number → number, for sticky ones
	kindMembers        kind = "members"         // number . index → number and member
	kindLive           kind = "live"            // number and member
	kindMember         kind = "member"          // number and member → address . port
	kindClients        kind = "clients"         // number . client → number and member, expiring
	kindFirewall       kind = "firewall"        // address . protocol . port → chain
	kindSources        kind = "sources"         // ranges that may use a load balancer: a set and a chain
	kindPods           kind = "pods"            // ranges of this node's Pods
	kindCIDRs          kind = "service-cidrs"   // ranges that ClusterIPs come from
	kindRoutes         kind = "routes"          // no set: other addresses of Services, which need routes
)

func (k kind) of(f dualstack.Family) string { return string(k) + "-" + strings.ToLower(string(f)) }

func kindOf(set string, f dualstack.Family) kind {
	return kind(strings.TrimSuffix(set, kind("").of(f)))
}

const refuseChain = "refuse"

// schema is what is always there. Chains that pick endpoints come and go, see [pick].
func schema() nft.Schema {
	var s nft.Schema
	s.Chains = []nft.Chain{
		{Name: "prerouting", Hook: nft.Prerouting},
		{Name: "output", Hook: nft.Output},
		{Name: "postrouting", Hook: nft.Postrouting},
		{Name: refuseChain, Rules: []nft.Rule{nft.Reset(), nft.Reject()}},
		{Name: "sent", Hook: nft.Sent},
		{Name: "delivered", Hook: nft.Delivered},
	}
	prerouting, output, postrouting, sent, delivered := &s.Chains[0], &s.Chains[1], &s.Chains[2], &s.Chains[4], &s.Chains[5]
	postrouting.Rules = append(postrouting.Rules, nft.Join(nft.IsTranslated(), nft.NoPriority()))
	for _, f := range dualstack.Families() {
		s.Sets = append(s.Sets, sets(f)...)
		services, outside := "services-"+lower(f), "outside-"+lower(f)
		prerouting.Rules = append(prerouting.Rules,
			nft.Join(nft.IsFamily(f), nft.NotIn(kindPods.of(f), nft.Source(f)), nft.To(nft.Jump{Chain: outside})),
			nft.Join(nft.IsFamily(f), nft.To(nft.Jump{Chain: services, Goto: true})))
		output.Rules = append(output.Rules, nft.Join(nft.IsFamily(f), nft.To(nft.Jump{Chain: services, Goto: true})))
		postrouting.Rules = append(postrouting.Rules, nft.Join(nft.IsFamily(f), nft.IsTranslated(), nft.To(nft.Jump{Chain: "masquerade-" + lower(f)})))
		loopback := hostnet.StandInOf(f)
		sent.Rules = append(sent.Rules, loopback.Sent(nft.In(kindLoopback.of(f), nft.Protocol(), nft.DestinationPort())))
		delivered.Rules = append(delivered.Rules, loopback.Delivered())
	}
	for _, f := range dualstack.Families() {
		s.Chains = append(s.Chains, familyChains(f)...)
	}
	return s
}

func lower(f dualstack.Family) string { return strings.ToLower(string(f)) }

// sets of a family.
func sets(f dualstack.Family) []nft.Set {
	addr := nft.Addr4
	if f == dualstack.IPv6 {
		addr = nft.Addr6
	}
	type list = []nft.Type
	at, class := list{addr, nft.Proto, nft.Port}, list{nft.Class}
	endpoint := list{addr, nft.Port}
	return []nft.Set{
		{Name: kindPods.of(f), Key: list{addr}, Interval: true},
		{Name: kindCIDRs.of(f), Key: list{addr}, Interval: true},
		{Name: kindClusterIPs.of(f), Key: list{addr}},
		{Name: kindServices.of(f), Key: at, Data: class},
		{Name: kindNodePorts.of(f), Key: at[1:], Data: class},
		{Name: kindLoopback.of(f), Key: at[1:]},
		{Name: kindLocalServices.of(f), Key: at, Data: class},
		{Name: kindLocalNodePorts.of(f), Key: at[1:], Data: class},
		{Name: kindClasses.of(f), Key: class, Data: list{nft.Verdict}},
		{Name: kindEndpoints.of(f), Key: list{nft.Class, nft.Index}, Data: endpoint},
		{Name: kindHairpin.of(f), Key: list{addr, addr}},
		{Name: kindFirewall.of(f), Key: at, Data: list{nft.Verdict}},
		{Name: kindNumbers.of(f), Key: class, Data: list{nft.Number}},
		{Name: kindMembers.of(f), Key: list{nft.Number, nft.Index}, Data: class},
		{Name: kindLive.of(f), Key: class},
		{Name: kindMember.of(f), Key: class, Data: endpoint},
		{Name: kindClients.of(f), Key: list{nft.Number, addr}, Data: class, Dynamic: true, Size: 1 << 20},
	}
}

// familyChains are, for IPv4:
//
//	chain services-ipv4 {
//	  ip daddr . meta l4proto . th dport vmap @firewall-ipv4
//	  meta priority set none
//	  meta priority set ip daddr . meta l4proto . th dport map @services-ipv4
//	  meta priority & fff0:0 vmap @classes-ipv4
//	  meta priority != none drop
//	  ip saddr 127.0.0.1 ip daddr 127.0.0.1 meta priority set meta l4proto . th dport map @nodeports-ipv4
//	  fib daddr type local ip daddr & 255.0.0.0 != 127.0.0.0 meta priority set meta l4proto . th dport map @nodeports-ipv4
//	  meta priority & fff0:0 vmap @classes-ipv4
//	  meta priority != none drop
//	  ip daddr @cluster-ips-ipv4 goto refuse
//	  ip daddr @service-cidrs-ipv4 drop
//	}
//
// The kernel looks each thing up as it is at that moment, so a change may come between two of them: what
// the first has found may lead nowhere by then. Such a packet is dropped, and its client asks again;
// untranslated it would be refused by the node, or answered.
func familyChains(f dualstack.Family) []nft.Chain {
	at, loopback := []nft.Field{nft.Destination(f), nft.Protocol(), nft.DestinationPort()}, hostnet.StandInOf(f)
	find := func(services, nodePorts kind) []nft.Rule {
		follow := nft.FollowMasked(kindClasses.of(f), classMask)
		return []nft.Rule{
			nft.NoPriority(),
			nft.SetPriority(services.of(f), at...),
			follow, nft.Join(nft.HasPriority(), nft.Drop()),
			// What is left at loopback's own address is for node ports without endpoints: refused (D6.3).
			nft.Join(nft.Is(nft.Source(f), loopback.For), nft.Is(nft.Destination(f), loopback.For), nft.SetPriority(nodePorts.of(f), at[1:]...)),
			nft.Join(nft.IsLocal(), nft.NotWithin(nft.Destination(f), loopback.Around), nft.SetPriority(nodePorts.of(f), at[1:]...)),
			follow, nft.Join(nft.HasPriority(), nft.Drop()),
		}
	}
	services := append([]nft.Rule{nft.Follow(kindFirewall.of(f), at...)}, find(kindServices, kindNodePorts)...)
	services = append(services,
		nft.Join(nft.In(kindClusterIPs.of(f), nft.Destination(f)), nft.To(nft.Jump{Chain: refuseChain, Goto: true})),
		nft.Join(nft.In(kindCIDRs.of(f), nft.Destination(f)), nft.Drop()))
	outside := append([]nft.Rule{nft.Follow(kindFirewall.of(f), at...)}, find(kindLocalServices, kindLocalNodePorts)...)
	return []nft.Chain{
		{Name: "outside-" + lower(f), Rules: only(f, outside)},
		{Name: "services-" + lower(f), Rules: only(f, services)},
		{Name: "masquerade-" + lower(f), Rules: only(f, []nft.Rule{
			nft.Join(nft.In(kindHairpin.of(f), nft.Source(f), nft.Destination(f)), nft.Masquerade()),
			nft.Join(nft.Is(nft.Source(f), loopback.Addr), nft.Masquerade()),
			// Answers come back through here by themselves from this node's Pods, and to them.
			nft.Join(nft.NotIn(kindPods.of(f), nft.Source(f)), nft.NotIn(kindPods.of(f), nft.Destination(f)), nft.Masquerade()),
		})},
	}
}

// only makes rules match a family, which costs nothing much: without, nft prints "@nh,128,32" for
// "ip daddr".
func only(f dualstack.Family, rules []nft.Rule) []nft.Rule {
	for i := range rules {
		rules[i] = nft.Join(nft.IsFamily(f), rules[i])
	}
	return rules
}

// pick is the chain that picks one of n endpoints:
//
//	meta priority set meta priority & f:ffff
//	meta l4proto { tcp, udp, sctp } dnat ip to meta priority . numgen random mod 3 map @endpoints-ipv4
//	meta l4proto { tcp, udp, sctp } dnat ip to meta priority . numgen random mod 1 map @endpoints-ipv4
//	drop
//
// The second and third are for when there are fewer of them all at once, see [familyChains]: the first
// one is there as long as there is any.
func pick(f dualstack.Family, n int) nft.Chain {
	return nft.Chain{Name: fmt.Sprintf("pick-%s-%d", lower(f), n), Rules: []nft.Rule{
		nft.MaskPriority(idMask),
		nft.Translate(kindEndpoints.of(f), f, nft.Priority(), nft.Random(uint32(n))), //nolint:gosec // few
		nft.Translate(kindEndpoints.of(f), f, nft.Priority(), nft.Random(1)),
		nft.Drop(),
	}}
}

// sticky is a class of Services that stay with a client.
type sticky struct {
	n       int
	seconds uint32
}

// stick is the chain that keeps a client with its endpoint, and else picks one of n. The packet's mark
// is the second register that this takes, and none afterwards:
//
//	meta mark set meta priority map @numbers-ipv4
//	meta priority set none
//	meta priority set meta mark . ip saddr map @clients-ipv4
//	meta priority @live-ipv4 update @clients-ipv4 { meta mark . ip saddr timeout 3h : meta priority } meta mark set 0 meta l4proto { tcp, udp, sctp } dnat ip to meta priority map @member-ipv4
//	delete @clients-ipv4 { meta mark . ip saddr : meta priority }
//	meta priority set meta mark . numgen random mod 1 map @members-ipv4
//	meta priority set meta mark . numgen random mod 3 map @members-ipv4
//	update @clients-ipv4 { meta mark . ip saddr timeout 3h : meta priority } meta mark set 0 meta l4proto { tcp, udp, sctp } dnat ip to meta priority map @member-ipv4
//	drop
//
// The one whose endpoint has gone has to be deleted because an update leaves the data as it is.
func stick(f dualstack.Family, s sticky) nft.Chain {
	client := []nft.Field{nft.Mark(), nft.Source(f)} // nft aborts on the other order
	remember := nft.Join(
		nft.Remember(kindClients.of(f), client, nft.Priority(), time.Duration(s.seconds)*time.Second),
		nft.NoMark(),
		nft.Translate(kindMember.of(f), f, nft.Priority()))
	return nft.Chain{Name: fmt.Sprintf("stick-%s-%d-%d", lower(f), s.n, s.seconds), Rules: only(f, []nft.Rule{
		nft.SetMark(kindNumbers.of(f), nft.Priority()),
		nft.NoPriority(),
		nft.SetPriority(kindClients.of(f), client...),
		nft.Join(nft.In(kindLive.of(f), nft.Priority()), remember),
		nft.Forget(kindClients.of(f), client, nft.Priority()),
		nft.SetPriority(kindMembers.of(f), nft.Mark(), nft.Random(1)),           // see pick
		nft.SetPriority(kindMembers.of(f), nft.Mark(), nft.Random(uint32(s.n))), //nolint:gosec // few
		remember,
		nft.Drop(),
	})}
}

// Ranges of sources are a set and a chain of their own, which Services with the same ranges share:
//
//	set sources-ipv4-0f1e2d3c { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
//	chain sources-ipv4-0f1e2d3c { ip saddr != @sources-ipv4-0f1e2d3c drop }
//
// One set for all of them, of addresses and ranges, would cost milliseconds for each change.
func sourceSet(f dualstack.Family, ranges string) (nft.Set, []nft.Element) {
	var list []netip.Prefix
	for text := range strings.SplitSeq(ranges, ",") {
		list = append(list, netip.MustParsePrefix(text)) // service.go:sources has made them
	}
	addr := nft.Addr4
	if f == dualstack.IPv6 {
		addr = nft.Addr6
	}
	return nft.Set{Name: sourceName(f, ranges), Key: []nft.Type{addr}, Interval: true}, nft.Ranges(list)
}

func sourceName(f dualstack.Family, ranges string) string {
	sum := sha256.Sum256([]byte(ranges))
	return kindSources.of(f) + "-" + hex.EncodeToString(sum[:4])
}

func sourceChain(f dualstack.Family, name string) nft.Chain {
	return nft.Chain{Name: name, Rules: only(f, []nft.Rule{nft.Join(nft.NotIn(name, nft.Source(f)), nft.Drop())})}
}
