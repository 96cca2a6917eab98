package announce

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/hostnet/neighbor"
	"github.com/duetk8s/duet/loadbalancer"
)

// street is a link with nodes on it and a client that believes what it was told last. Time is the
// bubble's: nothing here waits.
type street struct {
	*testing.T
	services, slices, nodes *fcache.FakeControllerSource

	mu    sync.Mutex
	links map[string]*wire // by node; those that are up
	cut   map[string]bool  // nodes on the other side of a cut
	table map[netip.Addr]string
	moves []string        // what the client was told that was news
	drop  bool            // announcements do not get through
	deaf  map[string]bool // nodes that are cut off from the API server
	fails map[string]int  // how often still, by what is asked of the machine
	ends  map[string]func()
}

// wire is a node's end of the link.
type wire struct {
	s       *street
	node    string
	hearer  neighbor.Hearer
	inbox   chan func()
	answers []netip.Addr
}

func newStreet(t *testing.T, nodes ...string) *street {
	s := &street{
		T: t, services: fcache.NewFakeControllerSource(), slices: fcache.NewFakeControllerSource(), nodes: fcache.NewFakeControllerSource(),
		links: map[string]*wire{}, cut: map[string]bool{}, deaf: map[string]bool{}, table: map[netip.Addr]string{}, ends: map[string]func(){},
	}
	for i, n := range nodes {
		s.nodes.Add(node(n, fmt.Sprintf("172.30.0.%d fd00:172:30::%d", i+3, i+3)))
		s.start(n)
	}
	synctest.Wait()
	return s
}

func node(name, addresses string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for a := range strings.FieldsSeq(addresses) {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func notReady(n *corev1.Node) {
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}}
}

func excluded(n *corev1.Node) {
	n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""}
}

// start runs a node's agent.
func (s *street) start(name string) {
	s.Helper()
	informer := func(source cache.ListerWatcher, o runtime.Object) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(source, o, 0, cache.Indexers{})
	}
	lease := fcache.NewFakeControllerSource()
	lease.Add(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}})
	deps := Deps{
		Services: informer(s.services, &corev1.Service{}), EndpointSlices: informer(s.slices, &discoveryv1.EndpointSlice{}),
		Nodes: informer(s.nodes, &corev1.Node{}), Lease: informer(lease, &coordinationv1.Lease{}), Events: &record.FakeRecorder{},
	}
	a, err := New(deps, Config{Node: name, Cluster: [8]byte{1}, Host: host{s, name}})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	var group sync.WaitGroup
	for _, i := range []cache.SharedIndexInformer{deps.Services, deps.EndpointSlices, deps.Nodes} {
		group.Go(func() { i.RunWithContext(ctx) })
	}
	group.Go(func() { // a healthy node
		for n := 0; ctx.Err() == nil; n++ {
			s.mu.Lock()
			deaf := s.deaf[name]
			s.mu.Unlock()
			if !deaf {
				lease.Modify(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name, Generation: int64(n)}})
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
		}
	})
	group.Go(func() {
		if err := a.Run(ctx); err != nil {
			s.Error(err)
		}
	})
	s.ends[name] = func() { cancel(); group.Wait(); lease.Shutdown() }
}

func (s *street) stop(names ...string) {
	for _, n := range names {
		s.ends[n]()
		delete(s.ends, n)
	}
}

func (s *street) end() {
	s.stop(slices.Collect(maps.Keys(s.ends))...)
	for _, source := range []*fcache.FakeControllerSource{s.services, s.slices, s.nodes} {
		source.Shutdown()
	}
}

type host struct {
	s    *street
	node string
}

func (h host) Find(netip.Addr) (int, string, bool, error) {
	return 1, h.node, true, h.s.failing("find")
}

func (s *street) failing(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails[what] == 0 {
		return nil
	}
	s.fails[what]--
	return errors.New("interrupted")
}

func (h host) Watch(ctx context.Context, changed func()) error {
	changed()
	<-ctx.Done()
	return nil
}

func (h host) Open(_ int, hearer neighbor.Hearer) (Link, error) {
	if err := h.s.failing("open"); err != nil {
		return nil, err
	}
	w := &wire{s: h.s, node: h.node, hearer: hearer, inbox: make(chan func(), 1000)}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.s.links[h.node] != nil {
		h.s.Errorf("%s opened its link twice", h.node)
	}
	h.s.links[h.node] = w
	return w, nil
}

func (w *wire) Run(ctx context.Context) error {
	for {
		select {
		case f := <-w.inbox:
			f()
		case <-ctx.Done():
			w.s.mu.Lock()
			defer w.s.mu.Unlock()
			delete(w.s.links, w.node)
			return nil
		}
	}
}

// others on the same side of a cut. The caller holds mu.
func (w *wire) others() (out []*wire) {
	for _, n := range slices.Sorted(maps.Keys(w.s.links)) {
		if n != w.node && w.s.cut[n] == w.s.cut[w.node] {
			out = append(out, w.s.links[n])
		}
	}
	return out
}

func (w *wire) Beat(payload []byte) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, o := range w.others() {
		o.inbox <- func() { o.hearer.Beat(payload) }
	}
	return nil
}

func (w *wire) Answer(addrs []netip.Addr) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.answers = slices.Clone(addrs)
	return nil
}

func (w *wire) Announce(addr netip.Addr) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if !slices.Contains(w.answers, addr) {
		return errors.New("announced before it is answered for")
	}
	if w.s.drop {
		return nil
	}
	if !w.s.cut[w.node] && w.s.table[addr] != w.node { // the client is on the first side
		w.s.table[addr] = w.node
		w.s.moves = append(w.s.moves, w.node)
	}
	for _, o := range w.others() {
		if slices.Contains(o.answers, addr) {
			o.inbox <- func() { o.hearer.Claimed(addr) }
		}
	}
	return nil
}

const (
	vip4 = "172.30.0.192"
	vip6 = "fd00:172:30::f000"
)

func balancer(name, uid, addresses string, change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
		Status:     corev1.ServiceStatus{Conditions: []metav1.Condition{{Type: loadbalancer.Condition, Status: metav1.ConditionTrue}}},
	}
	mode := corev1.LoadBalancerIPModeVIP
	for a := range strings.FieldsSeq(addresses) {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a, IPMode: &mode})
	}
	for _, c := range change {
		c(svc)
	}
	return svc
}

func local(svc *corev1.Service) {
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func slice(service string, family discoveryv1.AddressType, nodes string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + string(family), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: family,
	}
	for n := range strings.FieldsSeq(nodes) {
		ready := !strings.HasSuffix(n, "-ending")
		n = strings.TrimSuffix(n, "-ending")
		serving, terminating := true, !ready
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			NodeName: &n, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		})
	}
	return s
}

// answering are the nodes that answer for an address now.
func (s *street) answering(addr string) string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for n, w := range s.links {
		if slices.Contains(w.answers, netip.MustParseAddr(addr)) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (s *street) want(when, addrs, node string) {
	s.Helper()
	for addr := range strings.FieldsSeq(addrs) {
		if got := s.answering(addr); got != node {
			s.Errorf("%s, %q answer for %s, want %q", when, got, addr, node)
		}
		s.mu.Lock()
		if told := s.table[netip.MustParseAddr(addr)]; node != "" && told != node {
			s.Errorf("%s, the client was told that %s is at %q, want %q", when, addr, told, node)
		}
		s.mu.Unlock()
	}
}

// settle lets everything happen that takes no time but the listening at first.
func settle() { time.Sleep(2 * interval); synctest.Wait() }

// uidOf returns a UID that a node is elected for among others.
func uidOf(t *testing.T, node string, others ...string) string {
	t.Helper()
	list := []Station{{Node: node}}
	for _, o := range others {
		list = append(list, Station{Node: o})
	}
	for i := range 1000 {
		if uid := fmt.Sprint("uid-", i); Elect(types.UID(uid), list) == node {
			return uid
		}
	}
	t.Fatal("no UID")
	return ""
}

func TestFailover(t *testing.T) {
	for _, vips := range []string{vip4, vip6, vip4 + " " + vip6, vip6 + " " + vip4} {
		t.Run(vips, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStreet(t, "a", "b")
				defer s.end()
				if len(s.links) != 0 {
					t.Error("nodes beat though there is nothing to answer for")
				}
				s.services.Add(balancer("web", uidOf(t, "a", "b"), vips))
				settle()
				s.want("at first", vips, "a")
				time.Sleep(time.Minute)
				s.want("a minute later", vips, "a")

				died := time.Now()
				s.stop("a")
				for s.answering(strings.Fields(vips)[0]) != "b" && time.Since(died) < time.Second {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(died); took < (tolerance-2)*interval || took > tolerance*interval {
					t.Errorf("taken over after %s", took)
				}
				s.want("after the death of a", vips, "b")

				s.start("a")
				time.Sleep(probation - interval)
				s.want("while a is fresh", vips, "b")
				time.Sleep(2 * interval)
				s.want("after its probation", vips, "a")
				time.Sleep(time.Minute)
				n := len(strings.Fields(vips))
				if want := strings.Repeat("a", n) + strings.Repeat("b", n) + strings.Repeat("a", n); strings.Join(s.moves, "") != want {
					t.Errorf("the client was told %v", s.moves)
				}

				gone := balancer("web", "", "")
				s.services.Delete(gone)
				synctest.Wait()
				if len(s.links) != 0 {
					t.Error("nodes beat though there is nothing to answer for any more")
				}
			})
		})
	}
}

// One announcement that is lost is not missed.
func TestLostFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, "a", "b")
		defer s.end()
		s.services.Add(balancer("web", uidOf(t, "a", "b"), vip4))
		settle()
		set := func(drop bool) {
			s.mu.Lock()
			s.drop = drop
			s.mu.Unlock()
		}
		set(true)
		s.stop("a")
		for s.answering(vip4) != "b" {
			time.Sleep(time.Millisecond)
		}
		set(false)
		time.Sleep(interval)
		s.want("a beat later", vip4, "b")
	})
}

// What speaks for and against nodes.
func TestCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, "a", "b")
		defer s.end()
		uid := uidOf(t, "a", "b")
		both, v4, v6 := vip4+" "+vip6, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
		s.services.Add(balancer("web", uid, both))
		settle()
		s.want("at first", both, "a")
		for _, row := range []struct {
			name string
			do   func()
			want string
		}{
			{"a is not ready", func() { s.nodes.Modify(node("a", "172.30.0.3 fd00:172:30::3", notReady)) }, "b"},
			{"nor is b", func() { s.nodes.Modify(node("b", "172.30.0.4 fd00:172:30::4", notReady)) }, "a"},
			{"a is excluded", func() { s.nodes.Modify(node("a", "172.30.0.3 fd00:172:30::3", excluded)) }, "b"},
			{"so is b", func() { s.nodes.Modify(node("b", "172.30.0.4 fd00:172:30::4", excluded)) }, ""},
			{"both are fine", func() {
				s.nodes.Modify(node("a", "172.30.0.3 fd00:172:30::3"))
				s.nodes.Modify(node("b", "172.30.0.4 fd00:172:30::4"))
			}, "a"},
			{"Local without endpoints", func() { s.services.Modify(balancer("web", uid, both, local)) }, ""},
			{"an endpoint on b", func() { s.slices.Modify(slice("web", v4, "b")); s.slices.Modify(slice("web", v6, "b")) }, "b"},
			{"and on a", func() { s.slices.Modify(slice("web", v4, "b a")); s.slices.Modify(slice("web", v6, "b a")) }, "a"},
			{"that of a ends", func() {
				s.slices.Modify(slice("web", v4, "b a-ending"))
				s.slices.Modify(slice("web", v6, "b a-ending"))
			}, "b"},
			{"all end", func() {
				s.slices.Modify(slice("web", v4, "b-ending a-ending"))
				s.slices.Modify(slice("web", v6, "b-ending a-ending"))
			}, "a"},
			{"Cluster", func() { s.services.Modify(balancer("web", uid, both)) }, "a"},
			{"the address is somebody else's", func() {
				s.services.Modify(balancer("web", uid, both, func(svc *corev1.Service) { svc.Status.Conditions = nil }))
			}, ""},
		} {
			row.do()
			settle()
			s.want(row.name, both, row.want)
		}

		// A node with one family answers in that.
		s.services.Modify(balancer("web", uid, both))
		s.nodes.Modify(node("a", "172.30.0.3"))
		settle()
		s.want("a is IPv4 only", vip4, "a")
		s.want("a is IPv4 only", vip6, "b")
	})
}

// A link that is cut has one node on each side, and one again when it heals: the one the client is told last.
func TestCut(t *testing.T) {
	for _, elected := range []string{"a", "b"} {
		t.Run(elected, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStreet(t, "a", "b")
				defer s.end()
				s.services.Add(balancer("web", uidOf(t, elected, map[string]string{"a": "b", "b": "a"}[elected]), vip4+" "+vip6))
				settle()
				s.want("at first", vip4+" "+vip6, elected)
				set := func(cut bool) {
					s.mu.Lock()
					s.cut["b"] = cut
					s.mu.Unlock()
				}
				set(true)
				time.Sleep(time.Minute)
				if got := s.answering(vip4); got != "a b" {
					t.Errorf("%q answer in two parts", got)
				}
				if got := s.table[netip.MustParseAddr(vip6)]; got != "a" {
					t.Errorf("the client was told %q", got)
				}
				set(false)
				settle()
				time.Sleep(interval)
				s.want("healed", vip4+" "+vip6, elected)
			})
		})
	}
}

// A node that alone does not hear the API server gives up what it has; a server that all miss moves
// nothing.
func TestEstranged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, "a", "b")
		defer s.end()
		set := func(deaf bool, nodes ...string) {
			s.mu.Lock()
			for _, n := range nodes {
				s.deaf[n] = deaf
			}
			s.mu.Unlock()
		}
		s.services.Add(balancer("web", uidOf(t, "a", "b"), vip4))
		time.Sleep(time.Minute)
		s.want("at first", vip4, "a")
		set(true, "a", "b")
		time.Sleep(10 * time.Minute)
		s.want("without the server", vip4, "a")
		set(false, "a", "b")
		time.Sleep(time.Minute)
		if len(s.moves) != 1 {
			t.Errorf("moved because of the server: %v", s.moves)
		}
		set(true, "a")
		time.Sleep(estrangement)
		s.want("a does not hear the server", vip4, "a")
		time.Sleep(estrangement)
		s.want("a has not heard it for long", vip4, "b")
		set(false, "a")
		time.Sleep(11 * time.Second)
		s.want("a hears it again", vip4, "a")
	})
}

// When nodes come at about the same time none is fresh, and none is estranged by a server that all miss.
func TestStations(t *testing.T) {
	now := time.Now()
	s := stations{}
	hear := func(node string, up, silence time.Duration) {
		s.hear(beat{Node: node, Up: up, Silence: silence}, now)
	}
	show := func(after time.Duration) string {
		s.compare(now)
		s.compare(now.Add(after)) // and nothing is heard in between
		var out []string
		for _, n := range slices.Sorted(maps.Keys(s)) {
			text := n
			if s[n].fresh {
				text += " fresh"
			}
			if s[n].estranged {
				text += " estranged"
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	for _, row := range []struct {
		name          string
		aUp, aSilence time.Duration
		bUp, bSilence time.Duration
		after         time.Duration
		want          string
	}{
		{"together", time.Second, 0, 100 * time.Millisecond, 0, 0, "a, b"},
		{"one later", time.Minute, 0, time.Second, 0, 0, "a, b fresh"},
		{"later, but long ago", time.Minute, 0, 4 * time.Second, 0, 0, "a, b"},
		{"one does not hear the server", time.Hour, 3 * time.Second, time.Hour, 44 * time.Second, forgiveness, "a, b estranged"},
		{"one does not hear it yet", time.Hour, 3 * time.Second, time.Hour, 44 * time.Second, forgiveness - 1, "a, b"},
		{"nobody does", time.Hour, 70 * time.Second, time.Hour, 79 * time.Second, forgiveness, "a, b"},
	} {
		clear(s)
		hear("a", row.aUp, row.aSilence)
		hear("b", row.bUp, row.bSilence)
		if got := show(row.after); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	for i := range tolerance {
		if got := len(s); got != 2 {
			t.Errorf("%d stations after %d beats", got, i)
		}
		s.tick(now)
	}
	if len(s) != 0 {
		t.Error("the dead are there")
	}
}

// An agent that is restarted is fresh: others answer until its probation is over.
// What the machine does not do at once is tried again, though nothing changes.
func TestFailing(t *testing.T) {
	for _, vips := range []string{vip4, vip6, vip4 + " " + vip6, vip6 + " " + vip4} {
		t.Run(vips, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStreet(t, "a")
				defer s.end()
				s.fails = map[string]int{"find": 2, "open": 2}
				s.services.Add(balancer("web", "uid", vips))
				settle()
				s.want("at first", vips, "")
				time.Sleep(5 * time.Second)
				settle()
				s.want("later", vips, "a")
			})
		})
	}
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, "a", "b")
		defer s.end()
		s.services.Add(balancer("web", uidOf(t, "a", "b"), vip4))
		settle()
		time.Sleep(time.Minute)
		s.stop("a")
		s.start("a")
		settle()
		time.Sleep(time.Minute)
		s.want("a minute after the restart", vip4, "a")
		if got := strings.Join(s.moves, ""); got != "aba" {
			t.Errorf("the client was told %s", got)
		}
	})
}
