package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// known is a cluster as a list of objects.
type known struct {
	services []*corev1.Service
	slices   []*discoveryv1.EndpointSlice
	pods     []string // namespace/address
	ranges   []netip.Prefix
}

func (k known) Namespace(name string) bool { return name == "default" || name == "kube-system" }

func (k known) Pod(namespace string, addr netip.Addr) bool {
	return slices.Contains(k.pods, namespace+"/"+addr.String())
}

func (k known) InRange(addr netip.Addr) bool {
	return slices.ContainsFunc(k.ranges, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (k known) Service(namespace, name string) *corev1.Service {
	for _, s := range k.services {
		if s.Namespace == namespace && s.Name == name {
			return s
		}
	}
	return nil
}

func (k known) Slices(namespace, name string) (out []*discoveryv1.EndpointSlice) {
	for _, s := range k.slices {
		if s.Namespace == namespace && s.Labels[discoveryv1.LabelServiceName] == name {
			out = append(out, s)
		}
	}
	return out
}

func (k known) ServiceAt(addr netip.Addr) *corev1.Service {
	for _, s := range k.services {
		if slices.Contains(s.Spec.ClusterIPs, addr.String()) {
			return s
		}
	}
	return nil
}

func (k known) SlicesAt(addr netip.Addr) (out []*discoveryv1.EndpointSlice) {
	for _, s := range k.slices {
		for _, e := range s.Endpoints {
			if slices.Contains(e.Addresses, addr.String()) {
				out = append(out, s)
			}
		}
	}
	return out
}

// svc makes a Service: its cluster addresses, or "None" and its families.
func svc(name, addresses string, ports ...corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Ports: ports}}
	s.Spec.ClusterIPs = strings.Fields(addresses)
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	if s.Spec.ClusterIP == "None" {
		for _, f := range s.Spec.ClusterIPs[1:] {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPFamily(f))
		}
		s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1]
	}
	return s
}

// slice makes an EndpointSlice with port web 8080/TCP; an endpoint is "address", "address=hostname",
// or "!address" when it is not ready.
func slice(service, endpoints string) *discoveryv1.EndpointSlice {
	name, port, protocol := "web", int32(8080), corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	for text := range strings.FieldsSeq(endpoints) {
		addr, host, _ := strings.Cut(strings.TrimPrefix(text, "!"), "=")
		ready := text[0] != '!'
		e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
		if host != "" {
			e.Hostname = &host
		}
		if strings.Contains(addr, ":") {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func cluster() known {
	web := []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 81, Protocol: corev1.ProtocolTCP}}
	alias := svc("alias", "x")
	alias.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "dual.default.svc.cluster.local"}
	outside := svc("outside", "x")
	outside.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
	circle := svc("circle", "x")
	circle.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "circle.default.svc.cluster.local"}
	nowhere := svc("nowhere", "x")
	nowhere.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "none.default.svc.cluster.local"}
	chain := svc("chain", "x")
	chain.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "alias.default.svc.cluster.local"}
	reverse := svc("reverse", "x")
	reverse.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "1.9.96.10.in-addr.arpa"}
	kubeDNS := svc("kube-dns", "10.96.0.10 fd00:96::a")
	kubeDNS.Namespace = "kube-system"
	return known{
		services: []*corev1.Service{
			kubeDNS, nowhere, chain, reverse, svc("twice", "None IPv4"),
			svc("v4", "10.96.0.1", web...), svc("v6", "fd00:96::1", web...),
			svc("dual", "10.96.0.2 fd00:96::2", web...), svc("dual6", "fd00:96::3 10.96.0.3", web...),
			svc("headless", "None IPv4 IPv6", web...), svc("only4", "None IPv4", web...), svc("empty", "None IPv4", web...), alias, outside, circle,
		},
		slices: []*discoveryv1.EndpointSlice{
			slice("headless", "10.244.0.5=a 10.244.0.6 !10.244.0.7=c"), slice("headless", "fd00:244::5=a fd00:244::6"),
			slice("only4", "10.244.1.1"), slice("only4", "fd00:244::1:1"), slice("empty", "!10.244.0.9"), slice("dual", "10.244.2.1"),
			slice("twice", "10.244.3.1"), slice("twice", "10.244.3.1 10.244.3.2"),
		},
		pods:   []string{"default/10.244.0.5", "default/fd00:244::5", "default/fd00:1:2::5"},
		ranges: []netip.Prefix{netip.MustParsePrefix("10.100.0.0/24"), netip.MustParsePrefix("fd00:100::/112")},
	}
}

var testZone = Zone{Name: "cluster.local.", Ranges: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112"), netip.MustParsePrefix("10.244.0.0/16")}}

// asked is what dig would show, the owner and the zone left out; with a no, SOA if it says for how long.
func asked(name, kind string) string {
	a := testZone.Answer(dns.Question{Name: name, Qtype: dns.StringToType[kind], Qclass: dns.ClassINET}, cluster())
	if !a.Ours {
		return "others"
	}
	if len(a.Answers) == 0 {
		if len(a.Authority) != 1 || a.Authority[0].Header().Rrtype != dns.TypeSOA {
			return dns.RcodeToString[a.Code] + " without SOA"
		}
		return dns.RcodeToString[a.Code]
	}
	var texts []string
	for _, rr := range append(a.Answers, a.Extra...) {
		fields := strings.Fields(rr.String())
		texts = append(texts, strings.Join(fields[3:], " "))
	}
	if a.Code != dns.RcodeSuccess {
		texts = append(texts, dns.RcodeToString[a.Code])
	}
	return strings.Join(texts, "; ")
}

func TestAnswer(t *testing.T) {
	const d = ".default.svc.cluster.local."
	for _, row := range []struct{ rule, name, kind, want string }{
		{"D5.1 v4", "v4" + d, "A", "A 10.96.0.1"},
		{"D5.1 v4, other family", "v4" + d, "AAAA", "NOERROR"},
		{"D5.1 v6", "v6" + d, "AAAA", "AAAA fd00:96::1"},
		{"D5.1 v6, other family", "v6" + d, "A", "NOERROR"},
		{"D5.1 v4+v6", "dual" + d, "A", "A 10.96.0.2"},
		{"D5.1 v4+v6", "dual" + d, "AAAA", "AAAA fd00:96::2"},
		{"D5.1 v6+v4", "dual6" + d, "A", "A 10.96.0.3"},
		{"D5.1 v6+v4", "dual6" + d, "AAAA", "AAAA fd00:96::3"},
		{"case", "DUAL.Default.svc.CLUSTER.local.", "A", "A 10.96.0.2"},
		{"no Service", "none" + d, "A", "NXDOMAIN"},
		{"endpoint of a headful one", "10-244-2-1.dual" + d, "A", "A 10.244.2.1"},
		{"D5.2", "headless" + d, "A", "A 10.244.0.5; A 10.244.0.6"},
		{"D5.2", "headless" + d, "AAAA", "AAAA fd00:244::5; AAAA fd00:244::6"},
		{"D5.2 hostname", "a.headless" + d, "AAAA", "AAAA fd00:244::5"},
		{"D5.2 dashes v4", "10-244-0-6.headless" + d, "A", "A 10.244.0.6"},
		{"D5.2 dashes v6", "fd00-244--6.headless" + d, "AAAA", "AAAA fd00:244::6"},
		{"D5.2 not ready", "c.headless" + d, "A", "NXDOMAIN"},
		{"D5.2 a family it has not", "only4" + d, "AAAA", "NOERROR"},
		{"D5.2 none ready", "empty" + d, "A", "NXDOMAIN"},
		{"D5.3 SRV", "_web._tcp.dual" + d, "SRV", "SRV 0 100 80 dual" + d + "; A 10.96.0.2; AAAA fd00:96::2"},
		{"D5.3 SRV other protocol", "_web._udp.dual" + d, "SRV", "NXDOMAIN"},
		{"D5.3 SRV unnamed", "_._tcp.dual" + d, "SRV", "NXDOMAIN"},
		{"D5.3 SRV other type", "_web._tcp.dual" + d, "A", "NOERROR"},
		{"D5.3 SRV headless", "_web._tcp.only4" + d, "SRV", "SRV 0 100 8080 10-244-1-1.only4" + d + "; A 10.244.1.1"},
		{"D5.3 SRV both families", "_web._tcp.headless" + d, "SRV", "SRV 0 33 8080 a.headless" + d + "; SRV 0 33 8080 10-244-0-6.headless" + d +
			"; SRV 0 33 8080 fd00-244--6.headless" + d + "; A 10.244.0.5; AAAA fd00:244::5; A 10.244.0.6; AAAA fd00:244::6"},
		{"D5.3 PTR v4", "2.0.96.10.in-addr.arpa.", "PTR", "PTR dual" + d},
		{"D5.3 PTR v6", arpa("fd00:96::2"), "PTR", "PTR dual" + d},
		{"D5.3 PTR of an endpoint", "5.0.244.10.in-addr.arpa.", "PTR", "PTR a.headless" + d},
		{"D5.3 PTR of an endpoint v6", arpa("fd00:244::6"), "PTR", "PTR fd00-244--6.headless" + d},
		{"D5.3 PTR of a headful one's endpoint", "1.2.244.10.in-addr.arpa.", "PTR", "NXDOMAIN"},
		{"D5.3 PTR twice in slices", "1.3.244.10.in-addr.arpa.", "PTR", "PTR 10-244-3-1.twice" + d},
		{"D5.3 PTR of a free address of a range", "1.9.96.10.in-addr.arpa.", "PTR", "NXDOMAIN"},
		{"D5.3 PTR of a free address of a range v6", arpa("fd00:96::99"), "PTR", "NXDOMAIN"},
		{"D5.3 PTR, another type", "2.0.96.10.in-addr.arpa.", "A", "NOERROR"},
		{"D5.3 PTR in upper case", strings.ToUpper(arpa("fd00:96::a")), "PTR", "PTR kube-dns.kube-system.svc.cluster.local."},
		{"D5.3 PTR of part of an address", "96.10.in-addr.arpa.", "PTR", "others"},
		{"D5.3 PTR of nothing", "9.9.9.9.in-addr.arpa.", "PTR", "others"},
		{"D5.3 ExternalName", "outside" + d, "A", "CNAME example.com."},
		{"D5.3 ExternalName in the zone", "alias" + d, "A", "CNAME dual" + d + "; A 10.96.0.2"},
		{"D5.3 ExternalName asked itself", "alias" + d, "CNAME", "CNAME dual" + d},
		{"D5.3 ExternalName, several times", "chain" + d, "AAAA", "CNAME alias" + d + "; CNAME dual" + d + "; AAAA fd00:96::2"},
		{"D5.3 ExternalName of a name that is not", "nowhere" + d, "A", "CNAME none" + d + "; NXDOMAIN"},
		{"D5.3 ExternalName, no such record", "alias" + d, "TXT", "CNAME dual" + d},
		{"D5.3 ExternalName, everything", "outside" + d, "ANY", "CNAME example.com."},
		{"D5.3 below ExternalName", "x.alias" + d, "A", "NXDOMAIN"},
		{"D5.3 dns-version", "dns-version.cluster.local.", "TXT", `TXT "1.1.0"`},
		{"D5.4 v4", "10-244-0-5.default.pod.cluster.local.", "A", "A 10.244.0.5"},
		{"D5.4 v6", "fd00-244--5.default.pod.cluster.local.", "AAAA", "AAAA fd00:244::5"},
		{"D5.4 v6 with three dashes", "fd00-1-2--5.default.pod.cluster.local.", "AAAA", "AAAA fd00:1:2::5"},
		{"D5.4 no such Pod", "10-244-0-6.default.pod.cluster.local.", "A", "NXDOMAIN"},
		{"D5.4 no such Pod v6", "fd00-244--6.default.pod.cluster.local.", "AAAA", "NXDOMAIN"},
		{"D5.4 in another namespace", "10-244-0-5.kube-system.pod.cluster.local.", "A", "NXDOMAIN"},
		{"D5.4 the other type", "10-244-0-5.default.pod.cluster.local.", "AAAA", "NOERROR"},
		{"D5.4 no address", "a-b.default.pod.cluster.local.", "A", "NXDOMAIN"},
		{"D5.4 no namespace", "10-244-0-5.none.pod.cluster.local.", "A", "NXDOMAIN"},
		{"namespace", "default.svc.cluster.local.", "A", "NOERROR"},
		{"no namespace", "none.svc.cluster.local.", "A", "NXDOMAIN"},
		{"zone", "cluster.local.", "A", "NOERROR"},
		{"zone's authority", "cluster.local.", "SOA", "SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"},
		{"zone's server", "Cluster.Local.", "NS", "NS ns.dns.cluster.local.; A 10.96.0.10; AAAA fd00:96::a"},
		{"zone's server itself", "ns.dns.cluster.local.", "AAAA", "AAAA fd00:96::a"},
		{"authority below the zone", "v4" + d, "SOA", "NOERROR"},
		{"every type", "dual" + d, "ANY", "A 10.96.0.2; AAAA fd00:96::2"},
		{"a type nobody has", "dual" + d, "MX", "NOERROR"},
		{"above ports", "_tcp.dual" + d, "A", "NOERROR"},
		{"above no ports", "_udp.dual" + d, "A", "NXDOMAIN"},
		{"two slices with one address", "twice" + d, "A", "A 10.244.3.1; A 10.244.3.2"},
		{"below nothing", "a.b.cluster.local.", "A", "NXDOMAIN"},
		{"too deep", "a.b.c.dual" + d, "A", "NXDOMAIN"},
		{"another zone", "example.com.", "A", "others"},
		{"a longer zone", "xcluster.local.", "A", "others"},
		{"root", ".", "A", "others"},
	} {
		t.Run(row.rule+" "+row.name+row.kind, func(t *testing.T) {
			if got := asked(row.name, row.kind); got != row.want {
				t.Errorf("%s %s\ngot  %s\nwant %s", row.name, row.kind, got, row.want)
			}
		})
	}
	if got := asked("circle"+d, "A"); !strings.HasSuffix(got, "SERVFAIL") {
		t.Errorf("aliases in a circle: %s", got)
	}
}

func arpa(addr string) string {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		panic(err)
	}
	return name
}
