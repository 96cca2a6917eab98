package service

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A fault is what `Service "web" is invalid: ` is followed by; "" is a valid Service.
type faultRow struct{ name, svc, fault string }

const (
	badLabel  = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
	badName   = `name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`
	badDomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	badIP     = `must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`
	badCIDR   = `must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`
)

func TestA5_Ports(t *testing.T) {
	checkCreate(t, []faultRow{
		{"A5.2 none", `clusterIP: "$0"`, `spec.ports: Required value`},
		{"A5.2 none, headless", `clusterIP: None`, ``},
		{"A5.2 none, ExternalName", `type: ExternalName, externalName: example.com`, ``},
		{"A5.3 one without a name", `ports: [{port: 80}]`, ``},
		{
			"A5.3 several without", `ports: [{port: 80}, {port: 81}]`,
			`[spec.ports[0].name: Required value, spec.ports[1].name: Required value]`,
		},
		{"A5.3 name twice", `ports: [{name: a, port: 80}, {name: a, port: 81}]`, `spec.ports[1].name: Duplicate value: "a"`},
		{"A5.3 name no label", `ports: [{name: A_b, port: 80}]`, `spec.ports[0].name: Invalid value: "A_b": ` + badLabel},
		{"A5.3 port 0", `ports: [{port: 0, targetPort: 80}]`, `spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive`},
		{
			"A5.3 port 65536", `ports: [{port: 65536}]`,
			`[spec.ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 65536: must be between 1 and 65535, inclusive]`,
		},
		{
			"A5.3 protocol", `ports: [{port: 80, protocol: ICMP}]`,
			`spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`,
		},
		{"A5.3 every protocol", `ports: [{name: a, port: 80, protocol: SCTP}, {name: b, port: 80, protocol: TCP}, {name: c, port: 80, protocol: UDP}]`, ``},
		{"A5.3 target number", `ports: [{port: 80, targetPort: -1}]`, `spec.ports[0].targetPort: Invalid value: -1: must be between 1 and 65535, inclusive`},
		{"A5.3 target name", `ports: [{port: 80, targetPort: http-2}]`, ``},
		{
			"A5.3 target name too long", `ports: [{port: 80, targetPort: aaaaaaaaaaaaaaaa}]`,
			`spec.ports[0].targetPort: Invalid value: "aaaaaaaaaaaaaaaa": must be no more than 15 characters`,
		},
		{
			"A5.3 target name characters", `ports: [{port: 80, targetPort: "a_b"}]`,
			`spec.ports[0].targetPort: Invalid value: "a_b": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`,
		},
		{
			"A5.3 target name without letter", `ports: [{port: 80, targetPort: "80"}]`,
			`spec.ports[0].targetPort: Invalid value: "80": must contain at least one letter (a-z)`,
		},
		{
			"A5.3 target name hyphens", `ports: [{port: 80, targetPort: "-a--b"}]`,
			`[spec.ports[0].targetPort: Invalid value: "-a--b": must not contain consecutive hyphens, spec.ports[0].targetPort: Invalid value: "-a--b": must not begin or end with a hyphen]`,
		},
		{"A5.3 appProtocol", `ports: [{port: 80, appProtocol: kubernetes.io/h2c}]`, ``},
		{"A5.3 appProtocol no name", `ports: [{port: 80, appProtocol: "h2 c"}]`, `spec.ports[0].appProtocol: Invalid value: "h2 c": ` + badName},
		{
			"A5.4 port twice", `ports: [{name: a, port: 80}, {name: b, port: 80}]`,
			`spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}`,
		},
		{
			"A5.4 node port twice", `type: NodePort, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}]`,
			`spec.ports[1].nodePort: Duplicate value: 30080`,
		},
		{"A5.4 node port of two protocols", `type: NodePort, ports: [{name: a, port: 53, nodePort: 30053}, {name: b, port: 53, protocol: UDP, nodePort: 30053}]`, ``},
		{
			"A5.4 node ports before ports", `type: NodePort, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 80, nodePort: 30080}]`,
			`[spec.ports[1].nodePort: Duplicate value: 30080, spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}]`,
		},
		{"A5.9 node port on ClusterIP", `ports: [{port: 80, nodePort: 30080}]`, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"},
		{"A5.9 node port on ExternalName", `type: ExternalName, externalName: example.com, ports: [{port: 80, nodePort: 30080}]`, ``},
	})
}

func TestA5_Types(t *testing.T) {
	checkCreate(t, []faultRow{
		{
			"A5.5 unknown", `type: Foo, ports: [{port: 80}]`,
			`spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`,
		},
		{
			"A5.6 affinity unknown", `sessionAffinity: Foo, ports: [{port: 80}]`,
			`spec.sessionAffinity: Unsupported value: "Foo": supported values: "ClientIP", "None"`,
		},
		{"A5.6 a day", `sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}, ports: [{port: 80}]`, ``},
		{
			"A5.6 more", `sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}, ports: [{port: 80}]`,
			`spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400`,
		},
		{
			"A5.6 nothing", `sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}, ports: [{port: 80}]`,
			`spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400`,
		},
		{
			"A5.7 headless LoadBalancer", `type: LoadBalancer, clusterIP: None, ports: [{port: 80}]`,
			`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for LoadBalancer services`,
		},
		{
			"A5.7 headless NodePort", `type: NodePort, clusterIP: None, ports: [{port: 80}]`,
			`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`,
		},
		{
			"A5.10 addresses", `type: ExternalName, externalName: example.com, clusterIPs: ["$0"], clusterIP: "$0", ipFamilies: [$F0], ipFamilyPolicy: SingleStack`,
			`[spec.clusterIPs: Forbidden: may not be set for ExternalName services, spec.ipFamilies: Forbidden: may not be set for ExternalName services, spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services]`,
		},
		{"A5.10 no name", `type: ExternalName`, `spec.externalName: Required value`},
		{"A5.10 only a dot", `type: ExternalName, externalName: .`, `spec.externalName: Required value`},
		{"A5.10 trailing dot", `type: ExternalName, externalName: example.com.`, ``},
		{"A5.10 two trailing dots", `type: ExternalName, externalName: example.com..`, `spec.externalName: Invalid value: "example.com.": ` + badDomain},
		{
			"A5.19 selector", `selector: {b: "-", a: "x y", "c d": e}, ports: [{port: 80}]`,
			`[spec.selector: Invalid value: "x y": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?'), ` +
				`spec.selector: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?'), ` +
				`spec.selector: Invalid value: "c d": ` + badName + `]`,
		},
		{"A5.19 loadBalancerIP is not checked", `type: LoadBalancer, loadBalancerIP: nonsense, ports: [{port: 80}]`, ``},
		{
			"A5.20 annotations differ", `metadata: {annotations: {service.kubernetes.io/topology-mode: Auto, service.kubernetes.io/topology-aware-hints: auto}}
spec: {ports: [{port: 80}]}`,
			`metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "Auto": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified`,
		},
		{"A5.20 annotations agree", `metadata: {annotations: {service.kubernetes.io/topology-mode: auto, service.kubernetes.io/topology-aware-hints: auto}}
spec: {ports: [{port: 80}]}`, ``},
	})
}

func TestA5_LoadBalancer(t *testing.T) {
	const only = "Forbidden: may only be used when `type` is 'LoadBalancer'"
	const annotated = `metadata: {annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: "RANGES"}}` + "\n"
	checkCreate(t, []faultRow{
		{"A5.12 ranges", `type: LoadBalancer, loadBalancerSourceRanges: [" 192.0.2.0/24 ", "2001:db8::/64", "2001:DB8:0::/48"], ports: [{port: 80}]`, ``},
		{"A5.12 other type", `loadBalancerSourceRanges: [192.0.2.0/24], ports: [{port: 80}]`, `spec.LoadBalancerSourceRanges: ` + only},
		{
			"A5.12, 0.8 every fault", `type: LoadBalancer, loadBalancerSourceRanges: [x, 192.0.2.0/024, "::ffff:192.0.2.0/120", 192.0.2.1/24, "2001:db8::1/64", ""], ports: [{port: 80}]`,
			`[spec.LoadBalancerSourceRanges[0]: Invalid value: "x": ` + badCIDR +
				`, spec.LoadBalancerSourceRanges[1]: Invalid value: "192.0.2.0/024": must not have leading 0s in IP or prefix length` +
				`, spec.LoadBalancerSourceRanges[2]: Invalid value: "::ffff:192.0.2.0/120": must not have an IPv4-mapped IPv6 address` +
				`, spec.LoadBalancerSourceRanges[3]: Invalid value: "192.0.2.1/24": must not have bits set beyond the prefix length` +
				`, spec.LoadBalancerSourceRanges[4]: Invalid value: "2001:db8::1/64": must not have bits set beyond the prefix length` +
				`, spec.LoadBalancerSourceRanges[5]: Invalid value: "": ` + badCIDR + `]`,
		},
		{"A5.12 annotation", annotatedWith(annotated, "192.0.2.0/24, 2001:db8::/64") + `spec: {type: LoadBalancer, ports: [{port: 80}]}`, ``},
		{"A5.12 annotation, blank", annotatedWith(annotated, " ") + `spec: {type: LoadBalancer, ports: [{port: 80}]}`, ``},
		{
			"A5.12 annotation, other type", annotatedWith(annotated, "192.0.2.0/24") + `spec: {ports: [{port: 80}]}`,
			`metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: ` + only,
		},
		{
			"A5.12 annotation, wrong", annotatedWith(annotated, "x,192.0.2.0/24") + `spec: {type: LoadBalancer, ports: [{port: 80}]}`,
			`metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: "x": ` + badCIDR,
		},
		{"A5.12 annotation does not matter beside the field", annotatedWith(annotated, "x") + `spec: {type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24], ports: [{port: 80}]}`, ``},
		{"A5.13 other type", `type: NodePort, allocateLoadBalancerNodePorts: true, ports: [{port: 80}]`, `spec.allocateLoadBalancerNodePorts: ` + only},
		{"A5.14 class", `type: LoadBalancer, loadBalancerClass: example.com/lb, ports: [{port: 80}]`, ``},
		{"A5.14 class no name", `type: LoadBalancer, loadBalancerClass: "a b", ports: [{port: 80}]`, `spec.loadBalancerClass: Invalid value: "a b": ` + badName},
		{"A5.14 other type", `loadBalancerClass: example.com/lb, ports: [{port: 80}]`, `spec.loadBalancerClass: ` + only},
	})
}

func TestA5_TrafficPolicies(t *testing.T) {
	checkCreate(t, []faultRow{
		{
			"A5.15 not accessible", `externalTrafficPolicy: Cluster, ports: [{port: 80}]`,
			`spec.externalTrafficPolicy: Invalid value: "Cluster": may only be set for externally-accessible services`,
		},
		{"A5.15 accessible by external IP", `externalTrafficPolicy: Local, externalIPs: [192.0.2.1], ports: [{port: 80}]`, ``},
		{
			"A5.15 unknown", `type: NodePort, externalTrafficPolicy: Foo, ports: [{port: 80}]`,
			`spec.externalTrafficPolicy: Unsupported value: "Foo": supported values: "Cluster", "Local"`,
		},
		{
			"A5.16 not needed", `healthCheckNodePort: 30001, ports: [{port: 80}]`,
			"spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
		},
		{
			"A5.16 not for NodePort", `type: NodePort, externalTrafficPolicy: Local, healthCheckNodePort: 30001, ports: [{port: 80}]`,
			"spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
		},
		{"A5.16 missing", `type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]`, `spec.healthCheckNodePort: Required value`},
		{
			"A5.16 no port", `type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 65536, ports: [{port: 80}]`,
			`spec.healthCheckNodePort: Invalid value: 65536: must be between 1 and 65535, inclusive`,
		},
		{"A5.16 there", `type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001, ports: [{port: 80}]`, ``},
		{"A5.17 unknown", `internalTrafficPolicy: Foo, ports: [{port: 80}]`, `spec.internalTrafficPolicy: Unsupported value: "Foo": supported values: "Cluster", "Local"`},
		{
			"A5.17 unknown, ExternalName", `type: ExternalName, externalName: example.com, internalTrafficPolicy: Foo`,
			`spec.internalTrafficPolicy: Unsupported value: "Foo": supported values: "Cluster", "Local"`,
		},
		{"A5.17 ExternalName tolerates", `type: ExternalName, externalName: example.com, internalTrafficPolicy: Local`, ``},
		{"A5.18 PreferClose", `trafficDistribution: PreferClose, ports: [{port: 80}]`, ``},
		{"A5.18 PreferSameZone, headless", `clusterIP: None, trafficDistribution: PreferSameZone`, ``},
		{"A5.18 PreferSameNode, ExternalName", `type: ExternalName, externalName: example.com, trafficDistribution: PreferSameNode`, ``},
		{
			"A5.18 unknown", `trafficDistribution: "", ports: [{port: 80}]`,
			`spec.trafficDistribution: Unsupported value: "": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"`,
		},
		{
			"order: as upstream's", `type: Foo, clusterIP: x, externalIPs: [z], selector: {a: "b c"}, sessionAffinity: z, trafficDistribution: w`,
			`[spec.ports: Required value` +
				`, spec.selector: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')` +
				`, spec.sessionAffinity: Unsupported value: "z": supported values: "ClientIP", "None"` +
				`, spec.clusterIPs[0]: Invalid value: "x": ` + badIP +
				`, spec.externalIPs[0]: Invalid value: "z": ` + badIP +
				`, spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"` +
				`, spec.trafficDistribution: Unsupported value: "w": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"]`,
		},
	})
}

// What defaulting makes impossible is still refused, should an object come past it.
func TestA5_Undefaulted(t *testing.T) {
	withAffinity := func(config *corev1.SessionAffinityConfig) *corev1.Service {
		svc := sent(t, `sessionAffinity: ClientIP, ports: [{port: 80}]`)
		svc.Spec.SessionAffinityConfig = config
		return svc
	}
	targetUnknown := sent(t, `ports: [{port: 80}]`)
	targetUnknown.Spec.Ports[0].TargetPort = intstr.IntOrString{Type: 7}
	noneWithConfig := sent(t, `ports: [{port: 80}]`)
	noneWithConfig.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{}
	for _, row := range []struct {
		name, fault string
		svc         *corev1.Service
	}{
		{"nothing set", `[spec.ports: Required value, spec.sessionAffinity: Required value, spec.type: Required value]`, &corev1.Service{}},
		{"A5.6 None with a configuration", `spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None`, noneWithConfig},
		{"A5.6 no configuration", `spec.sessionAffinityConfig: Required value: when session affinity type is ClientIP`, withAffinity(nil)},
		{"A5.6 no clientIP", `spec.sessionAffinityConfig.clientIP: Required value: when session affinity type is ClientIP`, withAffinity(&corev1.SessionAffinityConfig{})},
		{"A5.6 no timeout", `spec.sessionAffinityConfig.clientIP.timeoutSeconds: Required value: when session affinity type is ClientIP`, withAffinity(&corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{}})},
		{
			"A5.3, A5.13, A5.15, A5.17", `[spec.ports[0].protocol: Required value, spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive, spec.sessionAffinity: Required value, allocateLoadBalancerNodePorts: Required value, spec.externalTrafficPolicy: Required value, spec.internalTrafficPolicy: Required value]`,
			&corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}},
		},
		{"A5.3 target of unknown type", `spec.ports[0].targetPort: Internal error: unknown type: 7`, targetUnknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			check(t, row.fault, validate(row.svc, nil))
		})
	}
}

func annotatedWith(metadata, ranges string) string {
	return strings.Replace(metadata, "RANGES", ranges, 1)
}

func checkCreate(t *testing.T, rows []faultRow) {
	t.Helper()
	for _, row := range rows {
		onEach(t, row.name, []string{row.svc, row.fault}, func(t *testing.T, texts []string) {
			check(t, texts[1], Validate(t.Context(), stored(t, texts[0]), nil))
		})
	}
}

func check(t *testing.T, want string, errs field.ErrorList) {
	t.Helper()
	if got := fault(t, errs); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
