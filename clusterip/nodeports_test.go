package clusterip

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A9.1: the three forms of the flag.
func TestA9_1_ParsePortRange(t *testing.T) {
	for in, want := range map[string]string{
		"30000-32767": "30000-32767", "30000+2767": "30000-32767", "30000": "30000-30000", " 1 - 65535 ": "1-65535",
		"": "", "0-10": "", "5-4": "", "1-65536": "", "65535+1": "", "-5": "", "a": "", "1-2-3": "", "30000-": "",
	} {
		got, err := ParsePortRange(in)
		switch {
		case err == nil && got.String() != want:
			t.Errorf("%q: got %s, want %q", in, got, want)
		case err != nil && want != "":
			t.Errorf("%q: %v", in, err)
		case err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q is not a valid port range: write it as", in)):
			t.Errorf("%q: %v", in, err)
		}
	}
}

// A9.3: the static band of node ports.
func TestA9_3_Bands(t *testing.T) {
	for size, want := range map[int32]uint64{1: 0, 16: 0, 17: 16, 128: 16, 2048: 64, 2768: 86, 4096: 128, 60000: 128} {
		if got := (PortRange{1, size}).span().static; got != want {
			t.Errorf("%d ports: static band of %d, want %d", size, got, want)
		}
	}
}

// tcp and udp write "80", "80:30080" or "name=80:30080".
func tcp(s string) corev1.ServicePort { return port(corev1.ProtocolTCP, s) }
func udp(s string) corev1.ServicePort { return port(corev1.ProtocolUDP, s) }

func port(protocol corev1.Protocol, s string) corev1.ServicePort {
	p := corev1.ServicePort{Protocol: protocol}
	if name, rest, ok := strings.Cut(s, "="); ok {
		p.Name, s = name, rest
	}
	if _, err := fmt.Sscanf(s, "%d:%d", &p.Port, &p.NodePort); err != nil && p.Port == 0 {
		panic(err)
	}
	return p
}

// show writes the node ports of svc.
func show(svc *corev1.Service) string {
	var out []string
	for _, p := range svc.Spec.Ports {
		out = append(out, fmt.Sprint(p.NodePort))
	}
	if n := svc.Spec.HealthCheckNodePort; n != 0 {
		out = append(out, fmt.Sprint("hc ", n))
	}
	return strings.Join(out, " ")
}

func lb(auto bool) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, new(auto)
	}
}

func local(healthCheck int32) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, healthCheck
	}
}

// sixth starts every search at the sixth candidate: 30091 is the first node port picked, and 30092
// the one after it.
func sixth(n uint64) uint64 { return min(n-1, 5) }

func TestA9_NodePorts(t *testing.T) {
	const refused = `Service "web" is invalid: spec.ports[%d].nodePort: Invalid value: %d: `
	const outside = "provided port is not in the valid range. The range of valid ports is 30000-32767"
	const taken = "provided port is already allocated"
	const internal = "Internal error occurred: "
	nodePort := withType(corev1.ServiceTypeNodePort)
	for _, tt := range []struct {
		name     string
		svc, old *corev1.Service
		want     string
	}{
		{"ClusterIP has none", service(), nil, "0"},
		{"automatic", service(nodePort), nil, "30091"},
		{"requested", service(nodePort, withPorts(tcp("80:30080"))), nil, "30080"},
		{"A9.4 outside", service(nodePort, withPorts(tcp("80"), tcp("81:80"))), nil, fmt.Sprintf(refused, 1, 80) + outside},
		{"A9.4 taken", service(nodePort, withPorts(tcp("80:30200"))), nil, fmt.Sprintf(refused, 0, 30200) + taken},
		{"A9.5 automatic, shared", service(nodePort, withPorts(tcp("53"), udp("53"), tcp("54"))), nil, "30091 30091 30092"},
		{"A9.5 requested on the second", service(nodePort, withPorts(tcp("53"), udp("53:30080"))), nil, "30080 30080"},
		{"A9.5 error names the first", service(nodePort, withPorts(tcp("53"), udp("53:30200"))), nil, fmt.Sprintf(refused, 0, 30200) + taken},
		{"A9.5 two numbers", service(nodePort, withPorts(tcp("53:30080"), udp("53:30090"))), nil, "30080 30090"},
		{"A9.5 different ports", service(nodePort, withPorts(tcp("53:30080"), udp("54:30080"))), nil, fmt.Sprintf(refused, 1, 30080) + taken},
		{"A9.6 different ports", service(nodePort, withPorts(tcp("53:30080"), udp("54:30080"))), service(), "30080 30080"},
		{"A9.6 automatic, apart", service(nodePort, withPorts(tcp("a=53"), udp("b=53"))), service(), "30091 30092"},
		{"A9.6 duplicate", service(nodePort, withPorts(tcp("53:30080"), tcp("54:30080"))), service(), "duplicate nodePort: {TCP 30080}"},
		{"A9.6 kept outside the range", service(nodePort, withPorts(tcp("80:100"))), service(nodePort, withPorts(tcp("80:100"))), "100"},
		{"A9.6 new one outside", service(nodePort, withPorts(tcp("80:100"))), service(nodePort, withPorts(tcp("80:30080"))), fmt.Sprintf(refused, 0, 100) + outside},
		{"A6.1 by name", service(nodePort, withPorts(tcp("b=81"), tcp("a=82"))), service(nodePort, withPorts(tcp("a=80:30080"), tcp("b=81:30090"))), "30090 30080"},
		{"A6.1 in use by another", service(nodePort, withPorts(tcp("a=80"), tcp("b=81:30080"))), service(nodePort, withPorts(tcp("a=80:30080"))), "30091 30080"},
		{"A6.1 from ClusterIP", service(nodePort), service(withPorts(tcp("80:30080"))), "30091"},
		{"A9.7 none", service(lb(false)), nil, "0"},
		{"A9.7 explicit", service(lb(false), withPorts(tcp("80:30080"), tcp("81"))), nil, "30080 0"},
		{"A9.7 kept if sent", service(lb(false), withPorts(tcp("80:30080"))), service(lb(true), withPorts(tcp("80:30080"))), "30080"},
		{"A9.7 dropped if omitted", service(lb(false)), service(lb(true), withPorts(tcp("80:30080"))), "0"},
		{"A9.7 nil is true", service(withType("LoadBalancer")), nil, "30091"},
		{"A9.8 automatic", service(lb(false), local(0)), nil, "0 hc 30091"},
		{"A9.8 requested", service(lb(true), local(30080)), nil, "30091 hc 30080"},
		{"A9.8 taken", service(lb(false), local(30200)), nil, internal + "failed to allocate requested HealthCheck NodePort 30200: " + taken},
		{"A9.8 outside", service(lb(false), local(80)), nil, internal + "failed to allocate requested HealthCheck NodePort 80: " + outside},
		{"A9.8 own node port", service(lb(true), local(30080), withPorts(tcp("80:30080"))), nil, internal + "failed to allocate requested HealthCheck NodePort 30080: " + taken},
		{
			"A9.8 own kept node port", service(lb(true), local(30080), withPorts(tcp("80:30080"))), service(lb(true), withPorts(tcp("80:30080"))),
			internal + "failed to allocate requested HealthCheck NodePort 30080: " + taken,
		},
		{"A9.8 on the way to Local", service(lb(false), local(0)), service(lb(false)), "0 hc 30091"},
		{"A9.8 kept", service(lb(false), local(0)), service(lb(false), local(30080)), "0 hc 30080"},
		{"A9.8 not for a port", service(lb(true), local(0), withPorts(tcp("80:30080"))), service(lb(false), local(30080)), fmt.Sprintf(refused, 0, 30080) + taken},
		{"A5.16 NodePort never", service(nodePort, local(0)), nil, "30091"},
		{"A5.9 not held by ExternalName", service(nodePort, withPorts(tcp("80:30200"))), service(withType("ExternalName"), withPorts(tcp("80:30200"))), fmt.Sprintf(refused, 0, 30200) + taken},
		// A pick that would hit 30091 goes round what the Service itself names.
		{"round a later port", service(nodePort, withPorts(tcp("80"), tcp("81:30091"))), nil, "30092 30091"},
		{"round the health check", service(lb(true), local(30091)), nil, "30092 hc 30091"},
		{"round the ports", service(lb(true), local(0), withPorts(tcp("80:30091"))), nil, "30091 hc 30092"},
		// The Space has not heard of the old object yet.
		{"behind: own health check port", service(lb(true), local(0), withPorts(tcp("80:30080"))), service(lb(false), local(30080)), fmt.Sprintf(refused, 0, 30080) + taken},
		{
			"behind: own node port", service(lb(true), local(30080), withPorts(tcp("80:30080"))), service(lb(true), withPorts(tcp("80:30080"))),
			internal + "failed to allocate requested HealthCheck NodePort 30080: " + taken,
		},
		{"behind: kept", service(nodePort, withPorts(tcp("80"))), service(nodePort, withPorts(tcp("80:30080"))), "30080"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestSpace("10.96.0.0/16")
			s.random = sixth
			s.ReplacePorts(2, []int32{30200})
			if tt.old != nil && !strings.HasPrefix(tt.name, "behind") {
				take(s, 3, tt.old)
			}
			got := ""
			if err := s.Plan(tt.svc, tt.old); err != nil {
				got = err.Error()
			} else {
				got = show(tt.svc)
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// A9.3, A9.4: all dynamic ports, then all static ones, then full.
func TestA9_4_Full(t *testing.T) {
	s := NewSpace(Config{Families: newTestSpace("fd00::/112").families, NodePorts: PortRange{30000, 30099}, Rand: seeded(3)})
	s.SetRanges([]Range{{Name: "kubernetes", Prefixes: prefixes("fd00::/112"), Ready: true}})
	s.ReplaceAddrs(1, nil)
	for i := range 100 {
		svc := mustPlan(t, s, service(withType("NodePort")), nil)
		if n := svc.Spec.Ports[0].NodePort; (n >= 30016) != (i < 84) {
			t.Fatalf("port %d as number %d", n, i)
		}
		take(s, 2, svc)
	}
	for want, svc := range map[string]*corev1.Service{
		"Internal error occurred: failed to allocate a nodePort: range is full":               service(withType("NodePort")),
		"Internal error occurred: failed to allocate a HealthCheck NodePort 0: range is full": service(lb(false), local(0)),
	} {
		err := s.Plan(svc, nil)
		if err == nil || err.Error() != want || !apierrors.IsInternalError(err) || FullDetail(err) != "node ports in use: 30000-30099 100/100" {
			t.Errorf("got %v (%s)", err, FullDetail(err))
		}
	}
}

// A9.2: Claims names each number once.
func TestA9_2_Claims(t *testing.T) {
	svc := service(lb(true), local(30090), withIPs("10.96.0.1", "FD00::1"), withPorts(tcp("53:30080"), udp("53:30080"), tcp("54:30085"), tcp("55")))
	addrs, ports := Claims(svc)
	if got := fmt.Sprint(addrs, ports); got != "[10.96.0.1 fd00::1] [30080 30085 30090]" {
		t.Errorf("got %s", got)
	}
	for _, svc := range []*corev1.Service{
		service(withIPs("None"), withPorts(tcp("80:30080"))),
		service(withType("ExternalName"), withIPs("10.96.0.1"), withPorts(tcp("80:30080"))),
	} {
		if addrs, ports := Claims(svc); len(addrs)+len(ports) > 0 {
			t.Errorf("got %v %v", addrs, ports)
		}
	}
}
