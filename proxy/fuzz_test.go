package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
	"github.com/duetk8s/duet/test/sandbox"
)

// quietHost remembers the routes and has nothing else.
type quietHost struct {
	machine
	routes map[hostnet.LinkRoute]bool
}

func (h *quietHost) Read() (hostnet.State, error) {
	var s hostnet.State
	for ip := range strings.FieldsSeq(nodeIPs) {
		a := netip.MustParseAddr(ip)
		s.Addresses = append(s.Addresses, hostnet.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Index: 3})
	}
	return s, nil
}

func (h *quietHost) SetLinkRoutes(all []hostnet.LinkRoute) error {
	h.routes = map[hostnet.LinkRoute]bool{}
	return h.ChangeLinkRoutes(all, nil)
}

func (h *quietHost) ChangeLinkRoutes(add, remove []hostnet.LinkRoute) error {
	for _, r := range remove {
		delete(h.routes, r)
	}
	for _, r := range add {
		h.routes[r] = true
	}
	return nil
}

// still is a proxy that is told of changes by hand.
type still struct {
	*Proxy
	host *quietHost
}

func newStill(t testing.TB, deps Deps, table string) still {
	t.Helper()
	host := &quietHost{}
	p, err := New(deps, Config{Node: nodeName, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	if p.table, err = nft.Open(table); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.table.(*nft.Table).Remove(); err != nil {
			t.Error(err)
		}
		_ = p.table.Close()
	})
	return still{p, host}
}

func newDeps() Deps {
	informer := func(o runtime.Object) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(nil, o, 0, cache.Indexers{})
	}
	return Deps{
		Services: informer(&corev1.Service{}), EndpointSlices: informer(&discoveryv1.EndpointSlice{}),
		ServiceCIDRs: informer(&networkingv1.ServiceCIDR{}), Nodes: informer(&corev1.Node{}),
	}
}

// script turns bytes into changes.
type script []byte

func (s *script) next(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

func (s *script) yes() bool { return s.next(2) == 1 }

// change makes one change of the API's objects and tells the proxy.
func (s *script) change(p still) {
	n := s.next(6)
	name := fmt.Sprintf("s%d", n)
	switch s.next(8) {
	case 0:
		store(p.deps.Services, web(name, "1"), false)
		p.mark("default/" + name)
	case 1, 2, 3:
		store(p.deps.Services, s.service(name, n), true)
		p.mark("default/" + name)
	case 4, 5, 6:
		for _, e := range s.slices(name) {
			store(p.deps.EndpointSlices, e, s.next(5) > 0)
		}
		p.mark("default/" + name)
	case 7:
		cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{
			fmt.Sprintf("10.%d.0.0/16", 96+n), fmt.Sprintf("fd00:10:%d::/112", 96+n),
		}}}
		store(p.deps.ServiceCIDRs, cidr, s.yes())
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
		if s.yes() {
			node.Spec.PodCIDRs = []string{"10.244.0.0/24", "fd00:10:244::/64"}[s.next(2):]
		}
		store(p.deps.Nodes, node, true)
		p.markWide()
	}
}

func store(i cache.SharedIndexInformer, o any, there bool) {
	if there {
		_ = i.GetStore().Update(o)
	} else {
		_ = i.GetStore().Delete(o)
	}
}

func (s *script) service(name string, n int) *corev1.Service {
	number := fmt.Sprint(n + 1)
	svc := web(name, number)
	svc.Spec.ClusterIPs = [][]string{svc.Spec.ClusterIPs, svc.Spec.ClusterIPs[:1], svc.Spec.ClusterIPs[1:]}[s.next(3)]
	if s.yes() {
		svc.Spec.Ports = svc.Spec.Ports[s.next(2):]
	}
	if s.yes() {
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
		for i := range svc.Spec.Ports {
			svc.Spec.Ports[i].NodePort = int32(30000 + 10*n + i) //nolint:gosec // few
		}
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.31.0." + number}, {IP: "fd00:172:31::" + number}}[s.next(3)%2:]
		if s.yes() {
			svc.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24", "198.51.100.0/24", "2001:db8::/64"}[s.next(3):]
		}
	}
	if s.yes() {
		svc.Spec.ExternalIPs = []string{"172.31.1." + number, "fd00:172:31:1::" + number}[s.next(2):]
	}
	if s.yes() {
		stickyFor(int32(60 * (1 + s.next(2))))(svc) //nolint:gosec // few
	}
	if s.yes() {
		keepSource(svc)
	}
	if s.yes() {
		internalLocal(svc)
	}
	if s.next(8) == 7 {
		svc.Labels = map[string]string{labelProxyName: "x"}
	}
	return svc
}

func (s *script) slices(name string) []*discoveryv1.EndpointSlice {
	var lines []string
	for i := range 5 {
		if s.yes() {
			line := fmt.Sprintf("10.244.%d.%d fd00:10:244:%d::%d node%d", i%2, i+2, i%2, i+2, i%2)
			if s.next(4) == 0 {
				line += " ending"
			}
			lines = append(lines, line)
		}
	}
	out := endpoints(name, lines...)
	if s.next(6) == 0 {
		out[0].Labels = nil // goes over to nobody
	}
	if s.next(6) == 0 {
		out[1].Ports[0].Port = ptr.To[int32](9090)
	}
	return out
}

// meaning is what a ledger says without the numbers, which depend on what was before.
func meaning(p still) string {
	held := p.ledger.held
	var out []string
	for at, h := range held {
		line := fmt.Sprintf("%s %s %x", at.kind, at.family, at.key)
		switch at.kind {
		case kindServices, kindNodePorts, kindLocalServices, kindLocalNodePorts:
			line += " → " + picks(p, at.family, h.value)
		case kindFirewall, kindLoopback, kindClusterIPs, kindHairpin, kindSources, kindRoutes:
			line += " " + h.value
		default:
			line = string(at.kind) // how many
		}
		out = append(out, line)
	}
	for name, list := range p.ranges {
		out = append(out, name+" "+dualstack.Join(list))
	}
	for r := range p.host.routes {
		out = append(out, fmt.Sprint("route ", r))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// picks tells which endpoints a value leads to.
func picks(p still, f dualstack.Family, value string) string {
	v := binary.NativeEndian.Uint32([]byte(value))
	class, number := v>>classShift, v&idMask
	if class >= classRefuse {
		return fmt.Sprintf("%x", class)
	}
	n, kind, seconds := class, kindEndpoints, uint32(0)
	if class >= firstSticky {
		s := p.classes.list[class-firstSticky]
		n, kind, seconds = uint32(s.n), kindMembers, s.seconds //nolint:gosec // few
	}
	var out []string
	for i := range n {
		h := p.ledger.held[place{kind, f, nft.Bytes(number, i)}]
		if seconds > 0 {
			_, live := p.ledger.held[place{kindLive, f, h.value}]
			h = p.ledger.held[place{kindMember, f, h.value}]
			out = append(out, fmt.Sprint(live))
		}
		out = append(out, fmt.Sprintf("%x", h.value))
	}
	slices.Sort(out)
	return fmt.Sprint(seconds, out)
}

// FuzzChanges: any sequence of changes leaves the kernel where the ledger says it is, and the ledger
// where it would be if the last state had been the first.
func FuzzChanges(f *testing.F) {
	sandbox.Need(f)
	for i := range 40 {
		seed := make([]byte, 600)
		for j, x := 0, uint32(i*7919+1); j < len(seed); j++ { //nolint:gosec // few
			x = x*1664525 + 1013904223
			seed[j] = byte(x >> 24) //nolint:gosec // that is meant
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ctx := context.Background()
		s := script(data)
		p := newStill(t, newDeps(), TableName)
		for more := true; more; more = len(s) > 0 {
			for range 1 + s.next(4) {
				s.change(p)
			}
			if err := p.sync(ctx); err != nil {
				t.Fatal(err)
			}
			if p.stale {
				t.Fatal("a change did not fit what was there")
			}
		}
		inKernel(t, p)
		rebuilt := newStill(t, Deps{
			Services: copyOf(p.deps.Services), EndpointSlices: copyOf(p.deps.EndpointSlices),
			ServiceCIDRs: copyOf(p.deps.ServiceCIDRs), Nodes: copyOf(p.deps.Nodes),
		}, "duet-rebuilt")
		for _, o := range p.deps.Services.GetStore().List() {
			rebuilt.mark("default/" + o.(*corev1.Service).Name)
		}
		if err := rebuilt.sync(ctx); err != nil {
			t.Fatal(err)
		}
		inKernel(t, rebuilt)
		if got, want := meaning(p), meaning(rebuilt); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func copyOf(i cache.SharedIndexInformer) cache.SharedIndexInformer {
	out := cache.NewSharedIndexInformer(nil, &corev1.Node{}, 0, cache.Indexers{})
	for _, o := range i.GetStore().List() {
		_ = out.GetStore().Add(o)
	}
	return out
}

// inKernel holds the kernel against the ledger.
func inKernel(t *testing.T, p still) {
	t.Helper()
	p.compare(t.Context())
	if p.stale {
		t.Fatal("the rules are not what was written")
	}
	names := map[string]bool{}
	for _, s := range p.unchecked {
		c, err := p.differences(s)
		if err != nil || !empty(c) {
			t.Errorf("%s: %+v %v", s.name, c, err)
		}
		names[s.name] = true
	}
	for at, h := range p.ledger.held {
		if name := at.kind.of(at.family); !names[name] && at.kind != kindRoutes && at.kind != kindSources {
			t.Errorf("%s, with %q, is no set", name, h.value)
		}
		if len(h.waiting) > 0 {
			t.Errorf("two want %v", at)
		}
	}
	if slices.Contains(slices.Collect(maps.Values(p.ledger.sizes)), -1) {
		t.Errorf("sizes %v", p.ledger.sizes)
	}
}
