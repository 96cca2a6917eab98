package traffic

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/cluster"
)

// matrix is all of it, for a client on worker0 or outside. Each entry is the source that the server
// sees; the server is the endpoint of the row:
//
//	pod, outside   the client's own address
//	node0, node1   an address of that node
//	asked          of the node that has the load balancer's address, or the client's own if the
//	               endpoint is there
//
// or why there is no answer:
//
//	refused   at once, nobody answers anywhere                                     (D6.3)
//	drop      packets vanish: somebody answers, but not where the policy looks     (D6.3)
//	noroute   the client's network has no way: ClusterIPs and Pods exist on nodes and in Pods only
//	silent    no node takes the address: none has an endpoint that Local allows
//	noname    the name of a headless Service without endpoints does not exist      (D5.2)
//	-         the combination does not exist: 127.0.0.1 of a Pod or of the outside is not the node's
//
// Port0 and Port1 are the node port at worker0's and worker1's address, localhost at 127.0.0.1 or
// ::1. ClusterIP follows internalTrafficPolicy, the others externalTrafficPolicy, which what comes from
// a node or its own Pods does not obey at that node (D6.4). The outside reaches externalIPs by a route
// to worker0. Where neither side is a Pod of the node that is asked, it puts its own address in
// place of the client's; else the client's survives (docs/adr/0020). A Pod that reaches itself sees
// its node. The column headless takes no policy: the client finds the endpoint itself, outside by
// its address.
//
// Every row is made of a Service in both families and three protocols. Rows of "node" hold for the node
// itself and for Pods of the host network.
const matrix = `
client   endpoint                policy   ClusterIP  Port0    Port1    localhost  LB       externalIP  headless
pod      Pod on the same node    Cluster  pod        pod      node1    -          pod      pod         pod
pod      Pod on the same node    Local    pod        pod      drop     -          pod      pod         pod
pod      Pod on the other node   Cluster  pod        pod      pod      -          pod      pod         pod
pod      Pod on the other node   Local    drop       pod      pod      -          pod      pod         pod
pod      itself                  Cluster  node0      node0    node1    -          node0    node0       pod
pod      itself                  Local    node0      node0    drop     -          node0    node0       pod
pod      its node                Cluster  pod        pod      node1    -          pod      pod         pod
pod      its node                Local    pod        pod      drop     -          pod      pod         pod
pod      the other node          Cluster  pod        pod      pod      -          pod      pod         pod
pod      the other node          Local    drop       pod      pod      -          pod      pod         pod
pod      nobody                  Cluster  refused    refused  refused  -          refused  refused     noname
pod      nobody                  Local    refused    refused  refused  -          refused  refused     noname
node     Pod on the same node    Cluster  node0      node0    node1    node0      node0    node0       node0
node     Pod on the same node    Local    node0      node0    drop     node0      node0    node0       node0
node     Pod on the other node   Cluster  node0      node0    node0    node0      node0    node0       node0
node     Pod on the other node   Local    drop       node0    node0    node0      node0    node0       node0
node     itself                  Cluster  node0      node0    node1    node0      node0    node0       node0
node     itself                  Local    node0      node0    drop     node0      node0    node0       node0
node     the other node          Cluster  node0      node0    node0    node0      node0    node0       node0
node     the other node          Local    drop       node0    node0    node0      node0    node0       node0
node     nobody                  Cluster  refused    refused  refused  refused    refused  refused     noname
node     nobody                  Local    refused    refused  refused  refused    refused  refused     noname
outside  Pod on worker0          Cluster  noroute    outside  node1    -          asked    outside     noroute
outside  Pod on worker0          Local    noroute    outside  drop     -          outside  outside     noroute
outside  Pod on worker1          Cluster  noroute    node0    outside  -          asked    node0       noroute
outside  Pod on worker1          Local    noroute    drop     outside  -          outside  drop        noroute
outside  worker0                 Cluster  noroute    outside  node1    -          asked    outside     outside
outside  worker0                 Local    noroute    outside  drop     -          outside  outside     outside
outside  worker1                 Cluster  noroute    node0    outside  -          asked    node0       outside
outside  worker1                 Local    noroute    drop     outside  -          outside  drop        outside
outside  itself                  Cluster  noroute    node0    node1    -          asked    node0       -
outside  itself                  Local    noroute    drop     drop     -          silent   drop        -
outside  nobody                  Cluster  noroute    refused  refused  -          refused  refused     -
outside  nobody                  Local    noroute    refused  refused  -          silent   refused     -
`

// servers are what the Services have as endpoints, one each, by the words of the matrix.
var servers = map[string]map[string]string{
	"pod": {
		"Pod on the same node": "same0", "Pod on the other node": "pod1", "itself": "pod0",
		"its node": "host0", "the other node": "host1", "nobody": "nobody",
	},
	"node": {
		"Pod on the same node": "same0", "Pod on the other node": "pod1", "itself": "host0", "the other node": "host1", "nobody": "nobody",
	},
	"outside": {
		"Pod on worker0": "same0", "Pod on worker1": "pod1", "worker0": "host0", "worker1": "host1", "itself": "outside", "nobody": "nobody",
	},
}

// homes of those servers that are on a node.
var homes = map[string]string{"same0": "worker0", "pod0": "worker0", "host0": "worker0", "pod1": "worker1", "host1": "worker1"}

var transports = map[string]corev1.Protocol{"tcp": corev1.ProtocolTCP, "udp": corev1.ProtocolUDP, "sctp": corev1.ProtocolSCTP}

const servicePort = 80

func TestMatrix(t *testing.T) {
	m := &bench{lab: newLab(t), services: map[string]*corev1.Service{}}
	m.build(t)
	clients := map[string]at{
		"pod": m.inPod(t, m.pods["pod0"]), "node": m.onNode("worker0"), "host-network Pod": m.inPod(t, m.pods["host0"]), "outside": m.fromOutside(),
	}
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			rows := name
			if name == "host-network Pod" {
				rows = "node"
			}
			var flags []string
			if name == "node" {
				flags = []string{"-dns", m.dns}
			}
			m.compare(t, m.cells(t, rows), client, flags)
		})
	}
}

// bench is what the matrix is measured on.
type bench struct {
	*lab
	pods     map[string]*corev1.Pod
	services map[string]*corev1.Service // "pod1 Local", "pod1 headless"
	nodes    [2][]netip.Addr
	dns      string
}

// cell is one connection.
type cell struct {
	what           string // "Pod on the other node, Cluster, LB, sctp, IPv6"
	line           string // for the prober
	server, source string // want
	balancer       netip.Addr
}

// cells reads the rows of a client.
func (m *bench) cells(t *testing.T, client string) []cell {
	t.Helper()
	var out []cell
	lines := strings.Split(strings.TrimSpace(matrix), "\n")
	columns := strings.Fields(lines[0])[3:]
	for _, line := range lines[1:] {
		who, rest, _ := strings.Cut(line, " ")
		if who != client {
			continue
		}
		policy := "Cluster"
		endpoint, wants, ok := strings.Cut(rest, policy)
		if !ok {
			policy = "Local"
			endpoint, wants, _ = strings.Cut(rest, policy)
		}
		endpoint = strings.TrimSpace(endpoint)
		server := servers[client][endpoint]
		if server == "" || len(strings.Fields(wants)) != len(columns) {
			t.Fatalf("not a row: %s", line)
		}
		for i, want := range strings.Fields(wants) {
			for _, f := range dualstack.Families() {
				for _, transport := range slices.Sorted(maps.Keys(transports)) {
					c := cell{
						what:   fmt.Sprintf("%s, %s, %s, %s, %s", endpoint, policy, columns[i], transport, f),
						server: server, source: want,
					}
					if want != "-" {
						m.address(t, &c, policy, columns[i], transport, f, client == "outside")
						out = append(out, c)
					}
				}
			}
		}
	}
	return out
}

// address finds out what the client has to dial.
func (m *bench) address(t *testing.T, c *cell, policy, column, transport string, f dualstack.Family, outside bool) {
	t.Helper()
	svc := m.services[c.server+" "+policy]
	family := slices.Index(svc.Spec.IPFamilies, corev1.IPFamily(f))
	port := svc.Spec.Ports[slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == transport })]
	host, number := "", port.Port
	switch column {
	case "ClusterIP":
		host = svc.Spec.ClusterIPs[family]
	case "Port0", "Port1":
		host, number = m.nodes[column[4]-'0'][index(f)].String(), port.NodePort
	case "localhost":
		host, number = []string{"127.0.0.1", "::1"}[index(f)], port.NodePort
	case "LB":
		c.balancer = netip.MustParseAddr(svc.Status.LoadBalancer.Ingress[family].IP)
		host = c.balancer.String()
	case "externalIP":
		host = svc.Spec.ExternalIPs[index(f)]
	case "headless":
		host, number = c.server+"-headless.default.svc.cluster.local", serverPort
		if outside {
			host = m.pods[c.server].Status.PodIPs[index(f)].IP // the cluster is IPv4 first
		}
	}
	c.line = line(transport+[]string{"4", "6"}[index(f)], host, number)
}

// line is what the prober reads: "tcp4 10.96.0.7:80".
func line(network, host string, port int32) string {
	return network + " " + net.JoinHostPort(host, fmt.Sprint(port))
}

func index(f dualstack.Family) int {
	if f == dualstack.IPv4 {
		return 0
	}
	return 1
}

// compare makes all connections of a client and holds what came of them against the matrix.
func (m *bench) compare(t *testing.T, cells []cell, client at, flags []string) {
	t.Helper()
	var lines []string
	for _, c := range cells {
		lines = append(lines, c.line)
	}
	slices.Sort(lines)
	said := client.probe(t, slices.Compact(lines), flags...)
	wrong := 0
	for _, c := range cells {
		got, want := m.name(said[c.line]), c.server+" "+c.source
		switch c.source {
		case "refused", "drop", "noroute", "noname":
			want = strings.Replace(c.source, "drop", "timeout", 1)
		case "silent": // neither ARP nor neighbour discovery is answered, which takes the kernel seconds to say
			got, want = strings.Replace(got, "noroute", "timeout", 1), "timeout"
		case "asked":
			want = c.server + " " + m.asked(t, c)
		}
		if got != want {
			wrong++
			t.Errorf("%s (%s): got %q, want %q", c.what, c.line, got, want)
		}
	}
	t.Logf("%d cells, %d wrong", len(cells), wrong)
}

// asked says whose address the server sees behind a load balancer: that of the node which has the
// address, unless the endpoint is there.
func (m *bench) asked(t *testing.T, c cell) string {
	t.Helper()
	node, ok := m.neighbour(t, c.balancer)
	switch {
	case !ok:
		return "(no node has " + c.balancer.String() + ")"
	case homes[c.server] == fmt.Sprintf("worker%d", node):
		return "outside"
	}
	return fmt.Sprintf("node%d", node)
}

// name puts names in place of addresses: "pod1 10.244.0.7" is "pod1 pod".
func (m *bench) name(answer string) string {
	who, text, ok := strings.Cut(answer, " ")
	source, err := netip.ParseAddr(text)
	if !ok || err != nil {
		return answer
	}
	for _, ip := range m.pods["pod0"].Status.PodIPs {
		if ip.IP == source.String() {
			return who + " pod"
		}
	}
	for _, p := range outsideIPs {
		if p.Addr() == source {
			return who + " outside"
		}
	}
	if source.IsLoopback() {
		return who + " node0"
	}
	for i := range m.nodes {
		if slices.Contains(m.nodes[i], source) || slices.Contains(m.bridges(i), source) {
			return fmt.Sprintf("%s node%d", who, i)
		}
	}
	return answer
}

// bridges are the addresses that a node has among its Pods.
func (m *bench) bridges(node int) []netip.Addr {
	var out []netip.Addr
	for _, ip := range m.pods[fmt.Sprintf("pod%d", node)].Status.PodIPs {
		a := netip.MustParseAddr(ip.IP)
		bits := 24
		if a.Is6() {
			bits = 64
		}
		out = append(out, netip.PrefixFrom(a, bits).Masked().Addr().Next())
	}
	return out
}

// build starts the servers and makes their Services, and waits until all are known.
func (m *bench) build(t *testing.T) {
	t.Helper()
	for _, node := range []string{"worker0", "worker1"} {
		// The kernel tells a client a few times a second that nobody is there; here it is asked at once
		// in all ways.
		err := hostnet.Within(m.Namespace(node), func() error {
			if err := hostnet.SetSysctl("net/ipv4/icmp_ratelimit", "0"); err != nil {
				return err
			}
			return hostnet.SetSysctl("net/ipv6/icmp/ratelimit", "0")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for name, node := range homes {
		if strings.HasPrefix(name, "host") {
			m.Create(t, m.server(name, node, hostNetwork))
		} else {
			m.Create(t, m.server(name, node))
		}
		names = append(names, name)
	}
	m.serveOutside(t)
	for i, name := range append(names, "outside", "nobody") {
		m.expose(t, name, i)
	}
	m.pods = map[string]*corev1.Pod{}
	for _, pod := range m.Ready(t, names...) {
		m.pods[pod.Name] = pod
	}
	for i, node := range []string{"worker0", "worker1"} {
		m.nodes[i] = m.nodeIPs(t, node)
	}
	dns, err := m.Client.CoreV1().Services("kube-system").Get(t.Context(), "kube-dns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.dns = dns.Spec.ClusterIP
	m.settle(t)
}

// serveOutside is the server on the machine beside the nodes.
func (m *bench) serveOutside(t *testing.T) {
	t.Helper()
	var addresses []string
	for _, p := range outsideIPs {
		addresses = append(addresses, p.Addr().String())
	}
	c := m.fromOutside().command(t.Context(), "serve", "outside", fmt.Sprint(serverPort), strings.Join(addresses, ","))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Wait() }) // the context has ended it
}

// expose makes the Services of a server: one for each policy, of all kinds at once, and a headless one.
func (m *bench) expose(t *testing.T, name string, number int) {
	t.Helper()
	ports := []corev1.ServicePort{}
	for transport, p := range transports {
		ports = append(ports, corev1.ServicePort{Name: transport, Protocol: p, Port: servicePort, TargetPort: intstr.FromInt32(serverPort)})
	}
	selector := map[string]string{"app": name}
	if name == "outside" {
		selector = nil
	}
	for i, policy := range []string{"Cluster", "Local"} {
		internal := corev1.ServiceInternalTrafficPolicy(policy)
		m.create(t, name+" "+policy, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name + "-" + strings.ToLower(policy)},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack),
				Selector: selector, Ports: ports, ExternalIPs: []string{fmt.Sprintf("198.51.100.%d", 2*number+i+1), fmt.Sprintf("2001:db8:100::%d", 2*number+i+1)},
				InternalTrafficPolicy: &internal, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicy(policy),
			},
		})
	}
	if selector != nil {
		m.create(t, name+" headless", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name + "-headless"},
			Spec: corev1.ServiceSpec{
				ClusterIP: corev1.ClusterIPNone, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack), Selector: selector, Ports: ports,
			},
		})
		return
	}
	for _, p := range outsideIPs {
		for _, policy := range []string{"cluster", "local"} {
			m.slice(t, name+"-"+policy, ports, p.Addr())
		}
	}
}

func (m *bench) create(t *testing.T, key string, svc *corev1.Service) {
	t.Helper()
	created, err := m.Client.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.services[key] = created
}

// slice is made by hand for what is no Pod.
func (m *bench) slice(t *testing.T, service string, ports []corev1.ServicePort, address netip.Addr) {
	t.Helper()
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{GenerateName: service + "-", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressType(dualstack.Of(address)),
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address.String()}}},
	}
	for _, p := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: ptr.To[int32](serverPort)})
	}
	if _, err := m.Client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// settle waits until every Service has its addresses, and both nodes have heard of the last one: they
// hear of all in order, so one more Service tells.
func (m *bench) settle(t *testing.T) {
	t.Helper()
	for key, svc := range m.services {
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		cluster.Eventually(t, "addresses of "+key, func() string {
			now, err := m.Client.CoreV1().Services("default").Get(t.Context(), svc.Name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			m.services[key] = now
			if len(now.Status.LoadBalancer.Ingress) != 2 {
				return fmt.Sprint(now.Status)
			}
			return ""
		})
	}
	m.create(t, "last", &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "last"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "pod0"}, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack),
			Ports: []corev1.ServicePort{{Port: servicePort, TargetPort: intstr.FromInt32(serverPort)}},
		},
	})
	for _, ip := range m.services["last"].Spec.ClusterIPs {
		line := "tcp4 " + ip + ":80"
		if strings.Contains(ip, ":") {
			line = "tcp6 [" + ip + "]:80"
		}
		for _, name := range []string{"pod0", "pod1"} {
			client := m.inPod(t, m.pods[name])
			cluster.Eventually(t, line+" from "+name, func() string {
				if said := client.probe(t, []string{line})[line]; !strings.HasPrefix(said, "pod0 ") {
					return said
				}
				return ""
			})
		}
	}
}
