package traffic

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/duetk8s/duet/test/cluster"
)

// web is the Service of the stories: Pods with label role web, both families, at all kinds of addresses.
func web(name string) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack),
			Selector: map[string]string{"role": "web"},
		},
	}
	for _, name := range []string{"tcp", "udp"} {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: name, Protocol: transports[name], Port: servicePort, TargetPort: intstr.FromInt32(serverPort)})
	}
	return svc
}

func role(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels["role"] = name }
}

// stage is a lab with a Service, and clients that can reach it.
type stage struct {
	*lab
	service *corev1.Service
	client  *corev1.Pod // on worker0
}

// newStage starts the servers, one of which is on worker0, the next on worker1, and so on.
func newStage(t *testing.T, names ...string) *stage {
	t.Helper()
	return newLab(t).stage(t, names...)
}

func (l *lab) stage(t *testing.T, names ...string) *stage {
	t.Helper()
	s := &stage{lab: l}
	s.start(t, names...)
	s.Create(t, s.server("client", "worker0"))
	if _, err := s.Client.CoreV1().Services("default").Create(t.Context(), web("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.client = s.Ready(t, append([]string{"client"}, names...)...)[0]
	s.service = s.balanced(t, "web")
	return s
}

// balanced waits until a Service has a load balancer's addresses and returns it.
func (s *stage) balanced(t *testing.T, name string) (svc *corev1.Service) {
	t.Helper()
	cluster.Eventually(t, "addresses for the load balancer "+name, func() string {
		var err error
		svc, err = s.Client.CoreV1().Services("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(svc.Status.LoadBalancer.Ingress) != 2 {
			return fmt.Sprint(err, svc.Status)
		}
		return ""
	})
	return svc
}

func (s *stage) start(t *testing.T, names ...string) {
	t.Helper()
	for i, name := range names {
		s.Create(t, s.server(name, fmt.Sprintf("worker%d", i%2), role("web")))
	}
}

// delete asks Pods to end.
func (s *stage) delete(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := s.Client.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// gone waits until Pods are.
func (s *stage) gone(t *testing.T, names ...string) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("the end of %v", names), func() string {
		list, err := s.Client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err.Error()
		}
		for _, pod := range list.Items {
			if slices.Contains(names, pod.Name) {
				return pod.Name + " is there"
			}
		}
		return ""
	})
}

// at lists the Service's addresses of a kind in both families, for both protocols.
func (s *stage) at(t *testing.T, kind string) (lines []string) {
	t.Helper()
	if kind == "LB" {
		return balancerOf(s.service)
	}
	for i, family := range []string{"4", "6"} {
		for _, p := range s.service.Spec.Ports {
			host, port := "", p.Port
			switch kind {
			case "ClusterIP":
				host = s.service.Spec.ClusterIPs[i]
			case "NodePort": // of the node that dies in no story
				host, port = s.nodeIPs(t, "worker0")[i].String(), p.NodePort
			case "name":
				host = "web.default.svc.cluster.local"
			}
			lines = append(lines, line(p.Name+family, host, port))
		}
	}
	return lines
}

// everybody asks: a Pod by address and by name, a node, and somebody outside.
func (s *stage) everybody(t *testing.T) loads {
	t.Helper()
	pod := s.inPod(t, s.client)
	all := loads{
		s.load(t, "Pod", pod, "load", nil, s.at(t, "ClusterIP")...),
		s.load(t, "Pod by name", pod, "load", nil, s.at(t, "name")...),
		s.load(t, "node", s.onNode("worker0"), "load", nil, s.at(t, "ClusterIP")...),
		s.load(t, "outside, NodePort", s.fromOutside(), "load", nil, s.at(t, "NodePort")...),
		s.load(t, "outside, LB", s.fromOutside(), "load", nil, s.at(t, "LB")...),
	}
	return all
}

// TestRollingReplacement replaces all servers one after another, then all at once. The old ones serve
// until nobody asks them any more, as a server should; until then they are what is left (D6.5).
func TestRollingReplacement(t *testing.T) {
	s := newStage(t, "a0", "a1", "a2")
	all := s.everybody(t)
	all.every(t, "a0", "a1", "a2")

	now := []string{"a0", "a1", "a2"}
	for i, name := range []string{"b0", "b1", "b2"} {
		s.Create(t, s.server(name, fmt.Sprintf("worker%d", i%2), role("web")))
		s.Ready(t, name)
		all.every(t, name)
		old := now[0]
		now = append(now[1:], name)
		s.delete(t, old)
		all.only(t, now...)
		s.release(t, old)
		s.gone(t, old)
		all.goOn(t)
	}

	s.delete(t, now...)
	cluster.Eventually(t, "endpoints that all are about to end", func() string {
		for _, e := range s.endpoints(t) {
			if *e.Conditions.Ready || !*e.Conditions.Serving || !*e.Conditions.Terminating {
				return fmt.Sprint(e)
			}
		}
		return ""
	})
	all.every(t, now...)
	s.start(t, "c0", "c1", "c2")
	s.Ready(t, "c0", "c1", "c2")
	all.only(t, "c0", "c1", "c2")
	s.release(t, now...)
	s.gone(t, now...)
	all.every(t, "c0", "c1", "c2")
	all.unharmed(t)
}

// endpoints of the Service in all its slices.
func (s *stage) endpoints(t *testing.T) (out []discoveryv1.Endpoint) {
	t.Helper()
	slices, err := s.Client.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
	if err != nil {
		t.Fatal(err)
	}
	for _, slice := range slices.Items {
		out = append(out, slice.Endpoints...)
	}
	return out
}

// TestAgentsKilled kills the agents of both nodes, which are the proxies, again and again. What changed
// meanwhile they catch up with.
// Only a load balancer's address may move meanwhile, which breaks what the node before had translated
// (ADR 23): the one request that is on its way.
func TestAgentsKilled(t *testing.T) {
	s := newStage(t, "a0", "a1")
	moves := s.moves(t)
	all := s.everybody(t)
	balancer := all[4]
	all = append(all,
		s.load(t, "Pod", s.inPod(t, s.client), "hold", nil, s.at(t, "ClusterIP")...),
		s.load(t, "outside, NodePort", s.fromOutside(), "hold", nil, s.at(t, "NodePort")...))
	for range 3 {
		for _, node := range []string{"worker0", "worker1"} {
			s.Kill(t, cluster.Agent, node)
		}
		all.goOn(t)
		for _, node := range []string{"worker0", "worker1"} {
			cluster.Eventually(t, "a new agent of "+node, func() string {
				if s.PID(cluster.Agent, node) == 0 {
					return "none"
				}
				return ""
			})
		}
	}
	s.start(t, "b0", "b1")
	s.Ready(t, "b0", "b1")
	all[:5].every(t, "b0", "b1")
	slices.DeleteFunc(all, func(ld *load) bool { return ld == balancer }).unharmed(t)
	balancer.end(t)
	moved := moves()
	t.Log("addresses that moved:", moved)
	for line, tl := range balancer.now() {
		_, at, _ := strings.Cut(line, " ")
		if n := moved[netip.MustParseAddrPort(at).Addr()]; tl.failed > n {
			t.Errorf("%s: %s moved %d times; %s", balancer.name, line, n, balancer.failed())
		}
	}
}

// TestNodeKilled takes worker1 away at once, with all that runs on it and its link, and brings it back.
// The endpoint on it leaves; the load balancer's address that it had moves to worker0.
func TestNodeKilled(t *testing.T) {
	s := newStage(t, "a0", "a1")
	s.Create(t, s.server("neighbour", "worker1")) // must not be asked when the node is back, at whatever address
	s.Ready(t, "neighbour")
	pod := s.load(t, "Pod", s.inPod(t, s.client), "load", nil, s.at(t, "ClusterIP")...)
	pod.every(t, "a0", "a1")
	moving := s.balancerAt(t, 1)
	moves := s.moves(t)
	balancer := s.load(t, "outside, LB", s.fromOutside(), "load", []string{"-patience", "200ms"}, moving...)

	run(t, "ip", "-n", "duet-"+s.Name+"-net", "link", "set", "worker1", "down")
	s.Kill(t, cluster.Box, "worker1")
	began := time.Now()
	balancer.goOn(t)
	t.Logf("the load balancer answers again %v after worker1 died", time.Since(began).Round(10*time.Millisecond))
	if node := s.elected(t, moving); node != 0 {
		t.Errorf("worker%d answers for the load balancer", node)
	}
	if moved := moves(); len(moved) < 2 {
		t.Errorf("somebody outside was told of new stations: %v", moved)
	}
	pod.only(t, "a0")
	t.Logf("a1 is not asked any more after %v", time.Since(began).Round(10*time.Millisecond))
	for _, e := range s.endpoints(t) {
		if *e.NodeName == "worker1" && *e.Conditions.Ready {
			t.Errorf("of the dead node: %v", e)
		}
	}

	lost := pod.losses()
	s.Up(t)
	pod.every(t, "a0", "a1")
	cluster.Eventually(t, "the load balancer at worker1 again", func() string {
		if node := s.elected(t, moving); node != 1 {
			return fmt.Sprintf("worker%d answers", node)
		}
		return ""
	})
	balancer.goOn(t)
	if now := pod.losses(); now != lost {
		t.Errorf("%d requests failed when the node came back", now-lost)
	}
	for _, ld := range (loads{pod, balancer}) {
		ld.end(t)
		t.Log(ld.name, ld.failed())
		for line, tl := range ld.now() {
			if tl.by["neighbour"] > 0 {
				t.Errorf("%s: %s was answered by neighbour", ld.name, line)
			}
		}
	}
}

// balancerAt makes Services for a0 until a node answers for the load balancer of one, and returns its
// addresses.
func (s *stage) balancerAt(t *testing.T, node int) []string {
	t.Helper()
	for i := range 20 { // nodes are elected for each Service apart
		svc := web(fmt.Sprintf("balancer%d", i))
		svc.Spec.Selector = map[string]string{"app": "a0"}
		if _, err := s.Client.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if lines := balancerOf(s.balanced(t, svc.Name)); s.elected(t, lines) == node {
			return lines
		}
	}
	t.Fatalf("worker%d answers for none", node)
	return nil
}

func balancerOf(svc *corev1.Service) (lines []string) {
	for i, in := range svc.Status.LoadBalancer.Ingress {
		for _, p := range svc.Spec.Ports {
			lines = append(lines, line(p.Name+[]string{"4", "6"}[i], in.IP, p.Port))
		}
	}
	return lines
}

// elected is the number of the node that answers for addresses of one load balancer, -1 while they
// move.
func (s *stage) elected(t *testing.T, lines []string) int {
	t.Helper()
	nodes := map[int]bool{}
	for _, line := range lines {
		_, at, _ := strings.Cut(line, " ")
		cluster.Eventually(t, line, func() string {
			said := s.fromOutside().probe(t, []string{line})[line]
			node, ok := s.neighbour(t, netip.MustParseAddrPort(at).Addr())
			if !ok || !strings.Contains(said, " ") {
				return said
			}
			nodes[node] = true
			return ""
		})
	}
	if len(nodes) != 1 {
		return -1
	}
	return slices.Collect(maps.Keys(nodes))[0]
}

// TestServiceCIDRGrows fills the range of Services, adds another one, and uses it, all while clients
// connect to a Service of the first; then the other one goes again.
func TestServiceCIDRGrows(t *testing.T) {
	s := newLab(t, "--service-cidr", "10.96.0.0/28,fd00:10:96::/124").stage(t, "a0", "a1")
	all := s.everybody(t)
	services := s.Client.CoreV1().Services("default")
	for _, families := range [][]corev1.IPFamily{{corev1.IPv4Protocol, corev1.IPv6Protocol}, {corev1.IPv4Protocol}, {corev1.IPv6Protocol}} {
		for full := false; !full; {
			svc := web("")
			svc.GenerateName, svc.Spec.Type, svc.Spec.IPFamilies = "fill-", corev1.ServiceTypeClusterIP, families
			if len(families) == 1 {
				svc.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
			}
			_, err := services.Create(t.Context(), svc, metav1.CreateOptions{})
			if full = err != nil; full && !strings.Contains(err.Error(), "range is full") {
				t.Fatal(err)
			}
		}
	}
	cidrs := s.Client.NetworkingV1().ServiceCIDRs()
	if _, err := cidrs.Create(t.Context(), &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.97.0.0/24", "fd00:10:97::/120"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range 8 {
		svc := web(fmt.Sprintf("more%d", i))
		svc.Spec.Type = corev1.ServiceTypeClusterIP
		var created *corev1.Service
		cluster.Eventually(t, "an address for "+svc.Name, func() string {
			var err error
			if created, err = services.Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
				return err.Error()
			}
			return ""
		})
		for j, ip := range created.Spec.ClusterIPs {
			if !strings.HasPrefix(ip, []string{"10.97.", "fd00:10:97:"}[j]) {
				t.Errorf("%s got %s", svc.Name, ip)
			}
			lines = append(lines, line([]string{"tcp4", "tcp6"}[j], ip, servicePort))
		}
	}
	for name, client := range map[string]at{"a Pod": s.inPod(t, s.client), "a node": s.onNode("worker0"), "the other node": s.onNode("worker1")} {
		cluster.Eventually(t, "the new addresses from "+name, func() string {
			for line, said := range client.probe(t, lines) {
				if !strings.HasPrefix(said, "a") {
					return line + ": " + said
				}
			}
			return ""
		})
	}
	all.goOn(t)
	for i := range 8 {
		if err := services.Delete(t.Context(), fmt.Sprintf("more%d", i), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := cidrs.Delete(t.Context(), "more", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the end of the other range", func() string {
		_, err := cidrs.Get(t.Context(), "more", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprint("it is there: ", err)
		}
		return ""
	})
	all.unharmed(t)
}
