package container

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 40)
	for _, tt := range []struct{ name, spec, want string }{
		{"pod's name", "{}", "web"},
		{"hostname", "hostname: h", "h"},
		{"subdomain alone changes nothing", "subdomain: s", "web"},
		{"FQDN", "{hostname: h, subdomain: s, setHostnameAsFQDN: true}", "h.s.prod.svc.cluster.local"},
		{"FQDN without subdomain", "{hostname: h, setHostnameAsFQDN: true}", "h"},
		{"override", "{hostname: h, subdomain: s, hostnameOverride: o.example}", "o.example"},
		{"node's network", "{hostNetwork: true, hostname: h}", ""},
		{"longest FQDN", "{hostname: " + long[:39] + ", subdomain: s, setHostnameAsFQDN: true}", long[:39] + ".s.prod.svc.cluster.local"},
		{"too long", "{hostname: " + long + ", subdomain: s, setHostnameAsFQDN: true}", "FailedCreatePodSandBox: failed to construct FQDN from pod hostname and cluster domain, FQDN " +
			long + ".s.prod.svc.cluster.local is too long (64 characters is the max, 65 characters requested)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Hostname(podOf(t, tt.spec), "cluster.local")
			if err != nil {
				got = Reason(err) + ": " + err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// D3.9
func TestDNS(t *testing.T) {
	const node = "# by hand\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch old.example\nsearch example.com corp.example.\noptions edns0 ndots:2\n"
	var searches []string
	for i := range 40 {
		searches = append(searches, fmt.Sprintf("s%d.example", i))
	}
	for _, tt := range []struct {
		name, spec, resolv string
		dns                string
		want               string
	}{
		{"cluster first", "dnsPolicy: ClusterFirst", node, "10.96.0.10", "nameserver 10.96.0.10\nsearch prod.svc.cluster.local svc.cluster.local cluster.local example.com corp.example\noptions ndots:5\n"},
		{"IPv6", "dnsPolicy: ClusterFirst", "", "fd00:10:96::a", "nameserver fd00:10:96::a\nsearch prod.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"},
		{"both families", "dnsPolicy: ClusterFirst", "", "10.96.0.10 fd00:10:96::a", "nameserver 10.96.0.10\nnameserver fd00:10:96::a\nsearch prod.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"},
		{"both, IPv6 first", "dnsPolicy: ClusterFirst", "", "fd00:10:96::a 10.96.0.10", "nameserver fd00:10:96::a\nnameserver 10.96.0.10\nsearch prod.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"},
		{"on the node's network", "{dnsPolicy: ClusterFirst, hostNetwork: true}", node, "10.96.0.10", "nameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch example.com corp.example\noptions edns0 ndots:2\n"},
		{"with the node's network", "{dnsPolicy: ClusterFirstWithHostNet, hostNetwork: true}", "", "10.96.0.10", "nameserver 10.96.0.10\nsearch prod.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"},
		{"default", "dnsPolicy: Default", node, "10.96.0.10", "nameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch example.com corp.example\noptions edns0 ndots:2\n"},
		{"default, the node has none", "dnsPolicy: Default", "", "10.96.0.10", "nameserver 127.0.0.1\nnameserver ::1\n"},
		{"none", "{dnsPolicy: None, dnsConfig: {nameservers: [1.2.3.4], searches: [x], options: [{name: ndots, value: '1'}, {name: rotate}]}}", node, "10.96.0.10", "nameserver 1.2.3.4\nsearch x\noptions ndots:1 rotate\n"},
		{"more", "{dnsPolicy: ClusterFirst, dnsConfig: {nameservers: ['10.96.0.10', '::1'], searches: [svc.cluster.local, x], options: [{name: ndots, value: '1'}, {name: edns0}]}}", "", "10.96.0.10", "nameserver 10.96.0.10\nnameserver ::1\nsearch prod.svc.cluster.local svc.cluster.local cluster.local x\noptions ndots:1 edns0\n"},
		{"no cluster DNS", "dnsPolicy: ClusterFirst", node, "", "MissingClusterDNS: pod: \"web_prod(11111111-2222-3333-4444-555555555555)\". kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.\n" +
			"nameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch example.com corp.example\noptions edns0 ndots:2\n"},
		{"too many servers", "{dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4]}}", "", "", "DNSConfigForming: Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 1.1.1.1 2.2.2.2 3.3.3.3\n" +
			"nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n"},
		{"too many searches", "{dnsPolicy: None, dnsConfig: {searches: [" + strings.Join(searches, ", ") + "]}}", "", "", "DNSConfigForming: Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(searches[:32], " ") + "\n" +
			"search " + strings.Join(searches[:32], " ") + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sandbox, warnings, err := Sandbox(SandboxInput{
				Pod: podOf(t, tt.spec), HostIPs: stacks[2].host, ClusterDNS: addrs(strings.Fields(tt.dns)...), ClusterDomain: "cluster.local", ResolvConf: []byte(tt.resolv),
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := dnsText(sandbox.DnsConfig, warnings); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// D3.9: every policy in the four orders of families: the cluster's servers in the order that the
// agent was given, which is the Pods' (lab.clusterDNS).
func TestDNSPolicies(t *testing.T) {
	const node = "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n"
	const cluster = "search prod.svc.cluster.local svc.cluster.local cluster.local example.com\noptions ndots:5\n"
	const own = "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n"
	for _, order := range []struct{ name, dns, servers, loopback string }{
		{"v4", "10.96.0.10", "nameserver 10.96.0.10\n", "nameserver 127.0.0.1\n"},
		{"v6", "fd00:10:96::a", "nameserver fd00:10:96::a\n", "nameserver ::1\n"},
		{"v4+v6", "10.96.0.10 fd00:10:96::a", "nameserver 10.96.0.10\nnameserver fd00:10:96::a\n", "nameserver 127.0.0.1\nnameserver ::1\n"},
		{"v6+v4", "fd00:10:96::a 10.96.0.10", "nameserver fd00:10:96::a\nnameserver 10.96.0.10\n", "nameserver ::1\nnameserver 127.0.0.1\n"},
	} {
		for _, tt := range []struct{ name, spec, resolv, want string }{
			{"ClusterFirst", "dnsPolicy: ClusterFirst", node, order.servers + cluster},
			{"ClusterFirst on the node's network", "{dnsPolicy: ClusterFirst, hostNetwork: true}", node, own},
			{"ClusterFirstWithHostNet", "{dnsPolicy: ClusterFirstWithHostNet, hostNetwork: true}", node, order.servers + cluster},
			{"ClusterFirstWithHostNet on the Pods' network", "dnsPolicy: ClusterFirstWithHostNet", node, order.servers + cluster},
			{"Default", "dnsPolicy: Default", node, own},
			{"Default, the node has none", "dnsPolicy: Default", "", order.loopback},
			{"None", "{dnsPolicy: None, dnsConfig: {nameservers: ['2001:db8::1', 192.0.2.1]}}", node, "nameserver 2001:db8::1\nnameserver 192.0.2.1\n"},
			{"one more server", "{dnsPolicy: ClusterFirst, dnsConfig: {nameservers: ['2001:db8::1']}}", node, order.servers + "nameserver 2001:db8::1\n" + cluster},
		} {
			t.Run(tt.name+" "+order.name, func(t *testing.T) {
				var hosts []netip.Addr
				for server := range strings.FieldsSeq(order.dns) {
					hosts = append(hosts, addrs(map[bool]string{true: "192.0.2.10", false: "2001:db8::10"}[strings.Contains(server, ".")])...)
				}
				sandbox, warnings, err := Sandbox(SandboxInput{
					Pod: podOf(t, tt.spec), HostIPs: hosts, ClusterDNS: addrs(strings.Fields(order.dns)...), ClusterDomain: "cluster.local", ResolvConf: []byte(tt.resolv),
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := dnsText(sandbox.DnsConfig, warnings); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
			})
		}
	}
}

// dnsText is the resolv.conf that the runtime makes of it, after the warnings.
func dnsText(c *runtimeapi.DNSConfig, warnings []Warning) string {
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&b, "%s: %s\n", w.Reason, w.Message)
	}
	for _, s := range c.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(c.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.Searches, " "))
	}
	if len(c.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(c.Options, " "))
	}
	return b.String()
}

func TestSandboxNamespaces(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"its own", "{}", "network=POD pid=CONTAINER ipc=POD"},
		{"the node's", "{hostNetwork: true, hostPID: true, hostIPC: true}", "network=NODE pid=NODE ipc=NODE"},
		{"shared processes", "{shareProcessNamespace: true}", "network=POD pid=POD ipc=POD"},
		{"not shared", "{shareProcessNamespace: false}", "network=POD pid=CONTAINER ipc=POD"},
		{"privileged", "containers: [{name: a, securityContext: {privileged: true}}]", "network=POD pid=CONTAINER ipc=POD privileged"},
		{"host ports", "containers: [{name: a, ports: [{containerPort: 1, hostPort: 2}, {containerPort: 3, hostPort: 4, hostIP: '::', protocol: SCTP}]}]", "network=POD pid=CONTAINER ipc=POD TCP::2->1 SCTP::::4->3"},
		{"host ports of the node itself", "{hostNetwork: true, containers: [{name: a, ports: [{containerPort: 2, hostPort: 2}]}]}", "network=NODE pid=CONTAINER ipc=POD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sandbox, _, err := Sandbox(SandboxInput{Pod: podOf(t, tt.spec), ClusterDNS: addrs("10.96.0.10")})
			if err != nil {
				t.Fatal(err)
			}
			sc := sandbox.Linux.SecurityContext
			ns := sc.NamespaceOptions
			got := fmt.Sprintf("network=%s pid=%s ipc=%s", ns.Network, ns.Pid, ns.Ipc)
			if sc.Privileged {
				got += " privileged"
			}
			for _, p := range sandbox.PortMappings {
				got += fmt.Sprintf(" %s:%s:%d->%d", p.Protocol, p.HostIp, p.HostPort, p.ContainerPort)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestSandboxRefusesAndWarns(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"safe", "{securityContext: {sysctls: [{name: net/ipv4/tcp_syncookies, value: '1'}, {name: kernel.shm_rmid_forced, value: '1'}]}}", "map[kernel.shm_rmid_forced:1 net.ipv4.tcp_syncookies:1]"},
		{"AppArmor", "{securityContext: {appArmorProfile: {type: RuntimeDefault}}, containers: [{name: a}, {name: b, securityContext: {appArmorProfile: {type: Unconfined}}}]}", `map[] AppArmorIgnored: AppArmor profile of container "a" is ignored: AppArmor is not enforced on this node`},
		{"seccomp without a profile", "{securityContext: {seccompProfile: {type: Localhost}}}", "CreateContainerConfigError: localhostProfile must be set if seccompProfile type is Localhost."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sandbox, warnings, err := Sandbox(SandboxInput{Pod: podOf(t, tt.spec), ClusterDNS: addrs("10.96.0.10")})
			got := ""
			if err != nil {
				got = Reason(err) + ": " + err.Error()
			} else {
				got = fmt.Sprint(sandbox.Linux.Sysctls)
			}
			for _, w := range warnings {
				got += " " + w.Reason + ": " + w.Message
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
