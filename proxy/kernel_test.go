package proxy

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

// cluster is what a proxy is told by.
type cluster struct {
	services, slices, cidrs, nodes *fcache.FakeControllerSource
	deps                           Deps
	proxy                          *Proxy
	table                          counted
}

func newCluster(t testing.TB, config Config) *cluster {
	t.Helper()
	c := &cluster{
		services: fcache.NewFakeControllerSource(), slices: fcache.NewFakeControllerSource(),
		cidrs: fcache.NewFakeControllerSource(), nodes: fcache.NewFakeControllerSource(),
	}
	informer := func(s *fcache.FakeControllerSource, o runtime.Object) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(s, o, 0, cache.Indexers{})
	}
	c.deps = Deps{
		Services: informer(c.services, &corev1.Service{}), EndpointSlices: informer(c.slices, &discoveryv1.EndpointSlice{}),
		ServiceCIDRs: informer(c.cidrs, &networkingv1.ServiceCIDR{}), Nodes: informer(c.nodes, &corev1.Node{}),
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.0.0/24", "fd00:10:244::/64"}}}
	for ip := range strings.FieldsSeq(nodeIPs) {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	c.nodes.Add(node)
	c.cidrs.Add(&networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16", "fd00:10:96::/112"}}})
	config.Node = nodeName
	config.Open = func() (Table, error) {
		table, err := nft.Open(TableName)
		c.table.Table = table
		return &c.table, err
	}
	var err error
	if c.proxy, err = New(c.deps, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := c.table.failed.Load(); n != 0 {
			t.Errorf("%d changes did not fit what was there", n)
		}
	})
	background.Run(t, background.Each(c.deps.Services, c.deps.EndpointSlices, c.deps.ServiceCIDRs, c.deps.Nodes), c.proxy.Run)
	return c
}

// web is a dual-stack Service on port 80 of 10.96.0.N and fd00:10:96::N.
func web(name, n string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIPs: []string{"10.96.0." + n, "fd00:10:96::" + n},
			Ports: []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "dns", Port: 80, Protocol: corev1.ProtocolUDP}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// endpoints are a Service's slices in both families: "10.244.0.2 fd00:10:244::2 node0".
func endpoints(service string, lines ...string) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for i, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: service + "-" + strings.ToLower(string(family)),
				Labels: map[string]string{discoveryv1.LabelServiceName: service},
			},
			AddressType: family,
		}
		for name, protocol := range map[string]corev1.Protocol{"web": corev1.ProtocolTCP, "dns": corev1.ProtocolUDP} {
			port := int32(8080)
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &port})
		}
		for _, line := range lines {
			f := strings.Fields(line)
			e := discoveryv1.Endpoint{Addresses: []string{f[i]}, NodeName: &f[2]}
			if len(f) > 3 { // "ending"
				e.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
			}
			s.Endpoints = append(s.Endpoints, e)
		}
		out = append(out, s)
	}
	return out
}

func (c *cluster) set(svc *corev1.Service, list []*discoveryv1.EndpointSlice) {
	c.services.Modify(svc)
	for _, s := range list {
		c.slices.Modify(s)
	}
}

var (
	pod1 = labPods["pod1"] + " " + nodeName
	pod2 = labPods["pod2"] + " " + nodeName
	pod3 = otherPod + " node1"
)

func TestTraffic(t *testing.T) {
	buildLab(t)
	c := newCluster(t, Config{})
	c.set(web("one", "1"), endpoints("one", pod1))
	c.set(web("far", "2"), endpoints("far", pod3))
	c.set(web("none", "3"), endpoints("none"))
	c.set(web("lb", "4", balanced(30004)), endpoints("lb", pod1))
	c.set(web("lbfar", "5", balanced(30005)), endpoints("lbfar", pod3))
	c.set(web("lblocal", "6", balanced(30006), keepSource), endpoints("lblocal", pod1, pod3))
	c.set(web("lbelse", "7", balanced(30007), keepSource), endpoints("lbelse", pod3))
	c.set(web("lbnone", "8", balanced(30008)), endpoints("lbnone"))
	c.set(web("ext", "9", external), endpoints("ext", pod1))
	c.set(web("inside", "10", internalLocal), endpoints("inside", pod1, pod3))
	c.set(web("insidefar", "11", internalLocal), endpoints("insidefar", pod3))
	c.set(web("ending", "12", balanced(30012)), endpoints("ending", pod1+" ending"))
	c.set(web("endinghere", "13", balanced(30013), keepSource), endpoints("endinghere", pod1+" ending", pod3))
	c.set(web("foreign", "14", labelled("service.kubernetes.io/service-proxy-name")), endpoints("foreign", pod1))
	c.set(web("headless", "15", labelled("service.kubernetes.io/headless")), endpoints("headless", pod1))
	for _, address := range []string{"10.96.0.1:80", "[fd00:10:96::1]:80"} {
		eventually.True(t, 30*time.Second, address+" is answered", func() bool { return call(t, "pod2", "tcp", address) != "timeout" })
	}

	for _, tt := range []struct{ name, from, to, want string }{
		{"ClusterIP from a Pod", "pod2", "10.96.0.1|fd00:10:96::1 80", "pod1 pod2"},
		{"ClusterIP, the Pod itself", "pod1", "10.96.0.1|fd00:10:96::1 80", "pod1 node"},
		{"ClusterIP from the node", "node", "10.96.0.1|fd00:10:96::1 80", "pod1 node"},
		{"ClusterIP from outside", "other", "10.96.0.1|fd00:10:96::1 80", "pod1 other"},
		{"ClusterIP elsewhere from a Pod", "pod1", "10.96.0.2|fd00:10:96::2 80", "other pod1"},
		{"ClusterIP elsewhere from the node", "node", "10.96.0.2|fd00:10:96::2 80", "other node"},
		{"ClusterIP without endpoints", "pod1", "10.96.0.3|fd00:10:96::3 80", "refused"},
		{"ClusterIP without endpoints from the node", "node", "10.96.0.3|fd00:10:96::3 80", "refused"},
		{"a port that is none", "pod1", "10.96.0.1|fd00:10:96::1 81", "refused"},
		{"an address that is none", "pod1", "10.96.7.7|fd00:10:96::777 80", "timeout"},
		{"node port from outside", "other", "172.30.0.3|fd00:172:30::3 30004", "pod1 other"},
		{"node port from a Pod", "pod2", "172.30.0.3|fd00:172:30::3 30004", "pod1 pod2"},
		{"node port from the Pod itself", "pod1", "172.30.0.3|fd00:172:30::3 30004", "pod1 node"},
		{"node port at the bridge", "pod2", "10.244.0.1|fd00:10:244::1 30004", "pod1 pod2"},
		{"node port from the node", "node", "172.30.0.3|fd00:172:30::3 30004", "pod1 node"},
		{"node port on loopback", "node", "127.0.0.1|::1 30004", "pod1 node"},
		{"node port on loopback, elsewhere", "node", "127.0.0.1|::1 30005", "other node"},
		{"node port on loopback, local policy", "node", "127.0.0.1|::1 30007", "other node"},
		{"node port on loopback without endpoints", "node", "127.0.0.1|::1 30008", "refused"},
		{"node port elsewhere", "other", "172.30.0.3|fd00:172:30::3 30005", "other node"},
		{"node port without endpoints", "other", "172.30.0.3|fd00:172:30::3 30008", "refused"},
		{"load balancer from outside", "other", "172.31.0.4|fd00:172:31::4 80", "pod1 other"},
		{"load balancer from a Pod", "pod2", "172.31.0.4|fd00:172:31::4 80", "pod1 pod2"},
		{"load balancer from the node", "node", "172.31.0.4|fd00:172:31::4 80", "pod1 node"},
		{"load balancer elsewhere", "other", "172.31.0.5|fd00:172:31::5 80", "other node"},
		{"load balancer without endpoints", "other", "172.31.0.8|fd00:172:31::8 80", "refused"},
		{"local policy from outside", "other", "172.31.0.6|fd00:172:31::6 80", "pod1 other"},
		{"local policy, node port", "other", "172.30.0.3|fd00:172:30::3 30006", "pod1 other"},
		{"local policy without local endpoints", "other", "172.31.0.7|fd00:172:31::7 80", "timeout"},
		{"local policy without local endpoints, node port", "other", "172.30.0.3|fd00:172:30::3 30007", "timeout"},
		{"external IP from outside", "other", "172.31.0.9|fd00:172:31::9 80", "pod1 other"},
		{"external IP from a Pod", "pod2", "172.31.0.9|fd00:172:31::9 80", "pod1 pod2"},
		{"external IP from the node", "node", "172.31.0.9|fd00:172:31::9 80", "pod1 node"},
		{"internal policy Local", "pod2", "10.96.0.10|fd00:10:96::10 80", "pod1 pod2"},
		{"internal policy Local from the node", "node", "10.96.0.10|fd00:10:96::10 80", "pod1 node"},
		{"internal policy Local without local endpoints", "pod2", "10.96.0.11|fd00:10:96::11 80", "timeout"},
		{"ending endpoints when there are no others", "pod2", "10.96.0.12|fd00:10:96::12 80", "pod1 pod2"},
		{"ending endpoints when there are others", "pod2", "10.96.0.13|fd00:10:96::13 80", "other pod2"},
		{"ending endpoints when there are no others here", "other", "172.31.0.13|fd00:172:31::13 80", "pod1 other"},
		{"another proxy's Service", "pod2", "10.96.0.14|fd00:10:96::14 80", "timeout"},
		{"a headless Service with an address", "pod2", "10.96.0.15|fd00:10:96::15 80", "timeout"},
		{"local policy from a Pod", "pod1", "172.31.0.7|fd00:172:31::7 80", "other pod1"},
		{"local policy from the node", "node", "172.31.0.7|fd00:172:31::7 80", "other node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts, port, _ := strings.Cut(tt.to, " ")
			v4, v6, _ := strings.Cut(hosts, "|")
			for i, host := range []string{v4, "[" + v6 + "]"} {
				for _, network := range []string{"tcp", "udp"} {
					before := asked(t, tt.from)
					got := who(call(t, tt.from, network, host+":"+port))
					if now := asked(t, tt.from); got != "timeout" && now != before {
						t.Errorf("family %d, %s: the client had to ask again: %s, %s", i, network, before, now)
					}
					if got != tt.want {
						t.Errorf("family %d, %s: got %q, want %q", i, network, got, tt.want)
					}
				}
			}
		})
	}
	t.Run("affinity", func(t *testing.T) { testAffinity(t, c) })
	t.Run("affinity ends", func(t *testing.T) { testAffinityEnds(t, c) })
	t.Run("sources", func(t *testing.T) { testSources(t, c) })
	t.Run("flows", func(t *testing.T) { testFlows(t, c) })
	t.Run("unanswered", func(t *testing.T) { testUnanswered(t, c) })
	t.Run("torn", func(t *testing.T) { testTorn(t, c) })
	t.Run("forged", testForged)
	t.Run("other loopback", testOtherLoopback)
	t.Run("repair", func(t *testing.T) { testRepair(t, c) })
	t.Run("routes", func(t *testing.T) { testRoutes(t, c) })
}

// Only those sources may use the load balancer's address.
func testSources(t *testing.T, c *cluster) {
	for ranges, want := range map[string]string{"192.0.2.0/24,2001:db8::/64": "timeout", "172.30.0.4/32,fd00:172:30::/64": "pod1 other"} {
		c.set(web("ranges", "21", balanced(30021, strings.Split(ranges, ",")...)), endpoints("ranges", pod1))
		wait(t, c)
		for _, to := range []string{"172.31.0.21:80", "[fd00:172:31::21]:80"} {
			if got := who(call(t, "other", "tcp", to)); got != want {
				t.Errorf("%s, ranges %s: got %q, want %q", to, ranges, got, want)
			}
		}
		if got := who(call(t, "other", "tcp", "10.96.0.21:80")); got != "pod1 other" {
			t.Errorf("ClusterIP: %s", got)
		}
	}
}

// asked tells how often a namespace has asked for connections again.
func asked(t *testing.T, ns string) string {
	t.Helper()
	var out string
	if err := hostnet.Within(path(ns), func() error {
		data, err := os.ReadFile("/proc/thread-self/net/netstat")
		if err != nil {
			return err
		}
		lines := strings.Split(string(data), "\n")
		names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
		out = values[slices.Index(names, "TCPSynRetrans")]
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// who names addresses.
func who(answer string) string {
	name, from, ok := strings.Cut(answer, " ")
	if !ok {
		return answer
	}
	switch from {
	case "10.244.0.2", "fd00:10:244::2":
		from = "pod1"
	case "10.244.0.3", "fd00:10:244::3":
		from = "pod2"
	case "172.30.0.4", "fd00:172:30::4":
		from = "other"
	case "172.30.0.3", "fd00:172:30::3", "10.244.0.1", "fd00:10:244::1":
		from = "node"
	}
	return name + " " + from
}

// wait waits until the proxy has had nothing to write for a while.
func wait(t testing.TB, c *cluster) {
	t.Helper()
	for last, quiet := c.table.writes.Load(), 0; quiet < 10; time.Sleep(5 * time.Millisecond) {
		if now := c.table.writes.Load(); now != last {
			last, quiet = now, 0
		} else {
			quiet++
		}
	}
}

// counted counts what is written to a table.
type counted struct {
	Table
	writes atomic.Int64
	failed atomic.Int64
	intact atomic.Pointer[func() (bool, error)] // instead of the table's
}

func (c *counted) Intact() (bool, error) {
	if f := c.intact.Load(); f != nil {
		return (*f)()
	}
	return c.Table.Intact()
}

func (c *counted) Rebuild(s nft.Schema, e map[string][]nft.Element) error {
	defer c.writes.Add(1)
	return c.Table.Rebuild(s, e)
}

func (c *counted) Apply(changes nft.Changes) error {
	defer c.writes.Add(1)
	err := c.Table.Apply(changes)
	if err != nil {
		c.failed.Add(1)
	}
	return err
}
