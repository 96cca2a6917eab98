package service

import (
	"strings"
	"testing"
)

func TestA10_Status(t *testing.T) {
	const lb = "\nspec: {type: LoadBalancer, ports: [{port: 80}]}"
	ingress := func(entries string) string { return `status: {loadBalancer: {ingress: [` + entries + `]}}` }
	for _, row := range []struct{ name, old, svc, fault string }{
		{"A10.1 nothing", lb, lb, ``},
		{
			"A10.1 other type", ``, ingress(`{ip: 192.0.2.1}`) + strings.Replace(lb, "LoadBalancer", "NodePort", 1),
			"status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
		},
		{"A10.2 both families and a name", lb, ingress(`{ip: 192.0.2.1}, {ip: "2001:db8::1", ipMode: Proxy}, {hostname: lb.example.com}`) + lb, ``},
		{
			"A10.2 mode without address", lb, ingress(`{hostname: lb.example.com, ipMode: VIP}`) + lb,
			"status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
		},
		{
			"A10.2 unknown mode", lb, ingress(`{ip: 192.0.2.1, ipMode: Foo}`) + lb,
			`status.loadBalancer.ingress[0].ipMode: Unsupported value: "Foo": supported values: "Proxy", "VIP"`,
		},
		{"A10.2 name no domain", lb, ingress(`{hostname: "a b"}`) + lb, `status.loadBalancer.ingress[0].hostname: Invalid value: "a b": ` + badDomain},
		{
			"A10.2 name an IPv4 address", lb, ingress(`{hostname: 192.0.2.1}`) + lb,
			`status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address`,
		},
		{
			"A10.2 name an IPv6 address", lb, ingress(`{hostname: "2001:db8::1"}`) + lb,
			`[status.loadBalancer.ingress[0].hostname: Invalid value: "2001:db8::1": ` + badDomain + `, status.loadBalancer.ingress[0].hostname: Invalid value: "2001:db8::1": must be a DNS name, not an IP address]`,
		},
		{
			"0.7 address", lb, ingress(`{ip: x}, {ip: 192.0.2.01}, {ip: "::ffff:192.0.2.1"}`) + lb,
			`[status.loadBalancer.ingress[0].ip: Invalid value: "x": ` + badIP +
				`, status.loadBalancer.ingress[1].ip: Invalid value: "192.0.2.01": must not have leading 0s` +
				`, status.loadBalancer.ingress[2].ip: Invalid value: "::ffff:192.0.2.1": must not be an IPv4-mapped IPv6 address]`,
		},
		{"0.9 address that was there", ingress(`{ip: 192.0.2.01}`) + lb, ingress(`{ip: 192.0.2.1}, {ip: 192.0.2.01}`) + lb, ``},
	} {
		t.Run(row.name, func(t *testing.T) {
			old := oldObject(t, strings.TrimPrefix(row.old, "\n"))
			check(t, row.fault, ValidateStatus(t.Context(), stored(t, strings.TrimPrefix(row.svc, "\n")), old))
		})
	}

	undefaulted := stored(t, ingress(`{ip: 192.0.2.1}`)+lb)
	undefaulted.Status.LoadBalancer.Ingress[0].IPMode = nil
	check(t, "status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set", validateStatus(undefaulted, nil))
}

func TestA5_21_Warnings(t *testing.T) {
	const deprecated = `spec.externalIPs is deprecated and may no longer be implemented in some clusters`
	for _, row := range []struct {
		name, svc string
		want      []string
	}{
		{"nothing to say", `clusterIP: "$0", ports: [{port: 80}]`, nil},
		{"nothing to say, two", `clusterIP: "$0", clusterIPs: ["$0", "$1"], ports: [{port: 80}]`, nil},
		{"A5.21 headless", `clusterIP: None, loadBalancerIP: 192.0.2.1, externalIPs: [192.0.2.1], sessionAffinity: ClientIP`, []string{
			`spec.loadBalancerIP is ignored for headless services`,
			`spec.externalIPs is ignored for headless services`,
			`spec.SessionAffinity is ignored for headless services`,
			deprecated,
		}},
		{"A5.21 ExternalName", `type: ExternalName, externalName: example.com, externalIPs: [192.0.2.1]`, []string{
			deprecated,
			`spec.externalIPs is ignored when spec.type is "ExternalName"`,
		}},
		{"A5.21 a name without ExternalName", `externalName: example.com`, []string{`spec.externalName is ignored when spec.type is not "ExternalName"`}},
		{"A5.21 PreferClose", `trafficDistribution: PreferClose`, []string{`spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`}},
		{"A5.21 annotation", `metadata: {annotations: {service.kubernetes.io/topology-aware-hints: auto}}`, []string{
			`annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead`,
		}},
		{"0.10 cluster IPs", `clusterIP: 010.96.0.7, clusterIPs: [010.96.0.7, "FD00:10:96::7"]`, []string{
			`spec.clusterIPs[0]: non-standard IP address "010.96.0.7" is invalid: use "10.96.0.7"`,
			`spec.clusterIPs[1]: IPv6 address "FD00:10:96::7" should be in RFC 5952 canonical format ("fd00:10:96::7")`,
		}},
		{"0.10 external IPs", `externalIPs: [192.0.2.1, "::ffff:192.0.2.1", "2001:db8:0::1"]`, []string{
			deprecated,
			`spec.externalIPs[1]: non-standard IP address "::ffff:192.0.2.1" is invalid: use "192.0.2.1"`,
			`spec.externalIPs[2]: IPv6 address "2001:db8:0::1" should be in RFC 5952 canonical format ("2001:db8::1")`,
		}},
		{"0.10 loadBalancerIP", `loadBalancerIP: "2001:DB8::1"`, []string{`spec.loadBalancerIP: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")`}},
		{"0.10 loadBalancerIP that is none", `loadBalancerIP: nonsense`, nil},
		{"0.10 source ranges", `type: LoadBalancer, loadBalancerSourceRanges: [" 192.0.2.0/24 ", 192.0.2.1/24, 192.0.2.0/024, "2001:DB8::/64"]`, []string{
			`spec.loadBalancerSourceRanges[1]: CIDR value "192.0.2.1/24" is ambiguous in this context (should be "192.0.2.0/24" or "192.0.2.1/32"?)`,
			`spec.loadBalancerSourceRanges[2]: non-standard CIDR value "192.0.2.0/024" is invalid: use "192.0.2.0/24"`,
			`spec.loadBalancerSourceRanges[3]: IPv6 CIDR value "2001:DB8::/64" should be in RFC 5952 canonical format ("2001:db8::/64")`,
		}},
	} {
		onEach(t, row.name, []string{row.svc}, func(t *testing.T, texts []string) {
			got, want := strings.Join(Warnings(t.Context(), stored(t, texts[0]), nil), "\n"), strings.Join(row.want, "\n")
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestR0_10_StatusWarnings(t *testing.T) {
	svc := stored(t, `status: {loadBalancer: {ingress: [{hostname: lb.example.com}, {ip: 192.0.2.01}, {ip: "2001:DB8::1"}]}}`)
	want := `status.loadBalancer.ingress[1]: non-standard IP address "192.0.2.01" is invalid: use "192.0.2.1"
status.loadBalancer.ingress[2]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")`
	if got := strings.Join(StatusWarnings(t.Context(), svc, nil), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
