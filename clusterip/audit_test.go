package clusterip

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func address(ip, family, service string) *networkingv1.IPAddress {
	a := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
		networkingv1.LabelManagedBy: ManagedBy, networkingv1.LabelIPAddressFamily: family,
	}}}
	namespace, name, _ := strings.Cut(service, "/")
	a.Spec.ParentRef = &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: name}
	return a
}

func named(name string, options ...func(*corev1.Service)) *corev1.Service {
	svc := service(options...)
	svc.Name = name
	return svc
}

// healthy is a cluster in which everything agrees.
func healthy() Cluster {
	user := address("10.96.0.200", "IPv4", "default/gateway")
	user.Labels, user.Spec.ParentRef.Resource = nil, "gateways"
	return Cluster{
		Services: []*corev1.Service{
			named("web", withIPs("10.96.0.9", "FD00::9"), lb(true), local(30090), withPorts(tcp("53:30080"), udp("53:30080"))),
			named("db", withIPs("None")),
			named("ext", withType("ExternalName"), withPorts(tcp("80:30085"))),
		},
		Addresses: []*networkingv1.IPAddress{address("10.96.0.9", "IPv4", "default/web"), address("fd00::9", "IPv6", "default/web"), user},
		Ports:     []PortClaim{{30080, "default/web"}, {30090, ""}},
		Ranges:    []Range{{Name: "kubernetes", Prefixes: prefixes("10.96.0.0/24,fd00::/112")}},
		NodePorts: DefaultNodePorts(),
	}
}

// B7, A9.9: one thing goes wrong at a time; the rows and texts are those of the tables.
func TestB7_Audit(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(*Cluster)
		want string
	}{
		"B7 nothing": {func(*Cluster) {}, ""},
		"B7.1": {
			func(c *Cluster) { c.Services[1].Spec.ClusterIP, c.Services[1].Spec.ClusterIPs = "x", []string{"x"} },
			"B7.1 Service default/db ClusterIPNotValid: Cluster IP x is not a valid IP; please recreate Service",
		},
		"B7.2": {
			func(c *Cluster) { c.Ranges[0].Prefixes = prefixes("10.96.0.0/24") },
			"B7.2 Service default/web ClusterIPOutOfRange: Cluster IP [IPv6]: FD00::9 is not within any configured Service CIDR; please recreate service",
		},
		"B7.3": {
			func(c *Cluster) { c.Addresses = c.Addresses[:1] },
			"B7.3 Service default/web ClusterIPNotAllocated: Cluster IP [IPv6]: FD00::9 is not allocated; repairing",
		},
		"B7.4, B7.9": {
			func(c *Cluster) { c.Addresses[0].Spec.ParentRef.Group = "x" },
			"B7.4 Service default/web ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.96.0.9 for Service default/web has a wrong reference; repairing\n" +
				"B7.9 IPAddress 10.96.0.9 IPAddressNotAllocated: IPAddress 10.96.0.9 appears to have been modified, not referencing a Service services.x/default/web: cleaning up",
		},
		"B7.5, B7.10": {
			func(c *Cluster) { c.Addresses[0].Spec.ParentRef.Name = "gone" },
			"B7.5 Service default/web ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.96.0.9 for Service default/web has a wrong reference; repairing\n" +
				"B7.10 IPAddress 10.96.0.9 IPAddressNotAllocated: IPAddress: 10.96.0.9 for Service default/gone appears to have leaked: cleaning up",
		},
		"B7.6": {
			func(c *Cluster) { c.Services = append(c.Services, named("too", withIPs("10.96.0.9"))) },
			"B7.6 Service default/too ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.96.0.9 was assigned to multiple services; please recreate service",
		},
		"B7.7": {
			func(c *Cluster) { c.Addresses[1].Labels = nil },
			"B7.7 Service default/web : IPAddress FD00::9 of Service default/web lacks its labels",
		},
		"B7.11": {
			func(c *Cluster) { c.Addresses = append(c.Addresses, address("10.96.0.77", "IPv4", "default/ext")) },
			"B7.11 IPAddress 10.96.0.77 IPAddressWrongReference: IPAddress: 10.96.0.77 for Service default/ext has a wrong reference; cleaning up",
		},
		"A9.9 not allocated": {
			func(c *Cluster) { c.Ports = c.Ports[:1] },
			"A9.9 Service default/web PortNotAllocated: Port 30090 is not allocated; repairing",
		},
		"A9.9 somebody else's": {
			func(c *Cluster) { c.Ports[0].Service = "default/x" },
			"A9.9 Service default/web PortNotAllocated: Port 30080 is not allocated; repairing",
		},
		"A9.9 twice": {func(c *Cluster) {
			c.Services = append(c.Services, named("app", withType("NodePort"), withIPs("None"), withPorts(tcp("80:30080"))))
			c.Ports[0].Service = "default/app"
		}, "A9.9 Service default/web PortAlreadyAllocated: Port 30080 was assigned to multiple services; please recreate service"},
		"A9.9 out of range": {
			func(c *Cluster) { c.NodePorts.First = 30085 },
			"A9.9 Service default/web PortOutOfRange: Port 30080 is not within the port range 30085-32767; please recreate service",
		},
		"A9.9 leaked": {
			func(c *Cluster) { c.Ports = append(c.Ports, PortClaim{30085, "default/ext"}) },
			"A9.9 node port 30085 PortLeaked: Port 30085 is claimed by no Service",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := healthy()
			tt.harm(&c)
			var lines []string
			for _, f := range Audit(c) {
				lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Rule, f.Object, f.Reason, f.Message))
			}
			if got := strings.Join(lines, "\n"); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// What Plan, Claims and a transaction that follows them leave behind passes the audit.
func TestB7_AuditOfPlans(t *testing.T) {
	s := newTestSpace("10.96.0.0/24,fd00::/112")
	c := Cluster{Ranges: []Range{{Prefixes: s.prefixes()}}, NodePorts: DefaultNodePorts()}
	claimed := map[string]*networkingv1.IPAddress{}
	for i := range 100 {
		svc := named(fmt.Sprintf("s%d", i), withPolicy("RequireDualStack"), lb(true), local(0))
		mustPlan(t, s, svc, nil)
		take(s, 2, svc)
		addrs, ports := Claims(svc)
		for j, a := range addrs {
			claimed[a.String()] = address(a.String(), string(svc.Spec.IPFamilies[j]), "default/"+svc.Name)
		}
		for _, p := range ports {
			c.Ports = append(c.Ports, PortClaim{p, "default/" + svc.Name})
		}
		c.Services = append(c.Services, svc)
	}
	c.Addresses = slices.Collect(maps.Values(claimed))
	if len(c.Addresses) != 200 || len(c.Ports) != 200 {
		t.Errorf("%d addresses, %d ports", len(c.Addresses), len(c.Ports))
	}
	if found := Audit(c); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}
