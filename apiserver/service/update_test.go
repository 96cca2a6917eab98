package service

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestA6_6_Immutability(t *testing.T) {
	const rest = `, ports: [{port: 80}]`
	const (
		one = `clusterIP: "$0", ipFamilies: [$F0], ipFamilyPolicy: SingleStack` + rest
		two = `clusterIP: "$0", clusterIPs: ["$0", "$1"], ipFamilies: [$F0, $F1], ipFamilyPolicy: PreferDualStack` + rest
		lb  = `type: LoadBalancer, loadBalancerClass: a` + rest
	)
	for _, row := range []struct{ name, old, svc, fault string }{
		{"unchanged", one, one, ``},
		{"unchanged, two", two, two, ``},
		{"second one comes", one, two, ``},
		{"second one goes", two, one, ``},
		{
			"primary changes", one, `clusterIP: "$1", ipFamilies: [$F1]` + rest,
			`[spec.clusterIPs[0]: Invalid value: ["$1"]: may not change once set, spec.ipFamilies[0]: Invalid value: ["$F1"]: may not change once set]`,
		},
		{
			"they swap", two, `clusterIP: "$1", clusterIPs: ["$1", "$0"], ipFamilies: [$F1, $F0]` + rest,
			`[spec.clusterIPs[0]: Invalid value: ["$1","$0"]: may not change once set, spec.clusterIPs[1]: Invalid value: ["$1","$0"]: may not change once set, spec.ipFamilies[0]: Invalid value: ["$F1","$F0"]: may not change once set]`,
		},
		{"second one changes", two, strings.ReplaceAll(two, `"$1"`, `"$18"`), `spec.clusterIPs[1]: Invalid value: ["$0","$18"]: may not change once set`},
		{
			"primary changes as the second comes", one, `clusterIP: "$1", clusterIPs: ["$1", "$0"], ipFamilies: [$F1, $F0]` + rest,
			`[spec.clusterIPs[0]: Invalid value: ["$1","$0"]: may not change once set, spec.ipFamilies[0]: Invalid value: ["$F1","$F0"]: may not change once set]`,
		},
		{"primary unset", one, `ipFamilies: [$F0]` + rest, `spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset`},
		{
			"all unset", two, `ipFamilyPolicy: PreferDualStack` + rest,
			`[spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset, spec.ipFamilies[0]: Invalid value: null: primary ipFamily can not be unset]`,
		},
		{
			"released without SingleStack", two, strings.Replace(one, "SingleStack", "PreferDualStack", 1),
			`[spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary clusterIP, spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary ipFamily]`,
		},
		{
			"released without policy", two, `clusterIP: "$0", ipFamilies: [$F0, $F1]` + rest,
			`spec.ipFamilyPolicy: Invalid value: null: must be set to 'SingleStack' when releasing the secondary clusterIP`,
		},
		{
			"primary released", two, `clusterIP: "$1", ipFamilies: [$F1], ipFamilyPolicy: SingleStack` + rest,
			`[spec.clusterIPs[0]: Invalid value: ["$1"]: may not change once set, spec.ipFamilies[0]: Invalid value: ["$F1"]: may not change once set]`,
		},
		{"A6.5 to headless", one, `clusterIP: None, ipFamilies: [$F0]`, `spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set`},
		{"A6.5 from headless, families with it", `clusterIP: None, ipFamilies: [$F1]`, one, `spec.clusterIPs[0]: Invalid value: ["$0"]: may not change once set`},
		{"A6.3d headless changes families", `clusterIP: None, ipFamilies: [$F0]`, `clusterIP: None, ipFamilies: [$F1, $F0]`, ``},
		{"A6.5 to ExternalName", two, `type: ExternalName, externalName: example.com`, ``},
		{"A6.5 from ExternalName", `type: ExternalName, externalName: example.com`, two, ``},
		{
			"A6.4 a change on the way to ExternalName", one, `type: ExternalName, externalName: example.com, clusterIP: "$1"`,
			`spec.clusterIPs: Forbidden: may not be set for ExternalName services`,
		},
		{"A5.14 class changes", lb, strings.Replace(lb, "Class: a", "Class: b", 1), `spec.loadBalancerClass: Invalid value: "b": may not change once set`},
		{"A5.14 class unset", lb, strings.Replace(lb, "loadBalancerClass: a, ", "", 1), `spec.loadBalancerClass: Invalid value: null: may not change once set`},
		{"A5.14 class set", strings.Replace(lb, "loadBalancerClass: a, ", "", 1), lb, `spec.loadBalancerClass: Invalid value: "a": may not change once set`},
		{
			"A5.14 class wrong too, once", lb, strings.Replace(lb, "Class: a", `Class: ""`, 1),
			`[spec.loadBalancerClass: Invalid value: "": may not change once set, spec.loadBalancerClass: Invalid value: "": name part must be non-empty, spec.loadBalancerClass: Invalid value: "": ` + badName + `]`,
		},
		{"A5.14 class of a former other type", one, `type: LoadBalancer, loadBalancerClass: a, clusterIP: "$0", ipFamilies: [$F0]` + rest, ``},
		{
			"A5.16 health-check port changes", `type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001` + rest,
			`type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30002` + rest, `spec.healthCheckNodePort: Forbidden: field is immutable`,
		},
	} {
		onEach(t, row.name, []string{row.old, row.svc, row.fault}, func(t *testing.T, texts []string) {
			check(t, texts[2], Validate(t.Context(), stored(t, texts[1]), oldObject(t, texts[0])))
		})
	}
}

// Values that older rules let in may stay (0.9), but only where they were.
func TestR0_9_ToleratedOnUpdate(t *testing.T) {
	const annotated = `metadata: {annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: "192.0.2.1/24"}}` + "\nspec: {type: LoadBalancer, ports: [{port: 80}]}"
	for _, row := range []struct{ name, old, svc, fault string }{
		{"cluster IP, leading zeros", `clusterIP: 10.96.0.007, ports: [{port: 80}]`, `clusterIP: 10.96.0.007, ipFamilies: [IPv4], ports: [{port: 80}]`, ``},
		{"cluster IP, v4-mapped", `clusterIP: "::ffff:10.96.0.7", ports: [{port: 80}]`, `clusterIP: "::ffff:10.96.0.7", ipFamilies: [IPv4], ports: [{port: 80}]`, ``},
		{
			"cluster IP beside a new one", `clusterIP: 10.96.0.007, ports: [{port: 80}]`,
			`clusterIP: 10.96.0.007, clusterIPs: [10.96.0.007, "::ffff:10.96.0.7"], ports: [{port: 80}]`,
			`spec.clusterIPs[1]: Invalid value: "::ffff:10.96.0.7": must not be an IPv4-mapped IPv6 address`,
		},
		{"external IP", `externalIPs: [192.000.2.1], ports: [{port: 80}]`, `externalIPs: [192.0.2.2, 192.000.2.1], ports: [{port: 80}]`, ``},
		{
			"external IP, new", `externalIPs: [192.000.2.1], ports: [{port: 80}]`, `externalIPs: [192.000.2.2], ports: [{port: 80}]`,
			`spec.externalIPs[0]: Invalid value: "192.000.2.2": must not have leading 0s`,
		},
		{
			"external IP, special all the same", `externalIPs: ["::ffff:127.0.0.1"], ports: [{port: 80}]`, `externalIPs: ["::ffff:127.0.0.1"], ports: [{port: 80}]`,
			`spec.externalIPs[0]: Invalid value: "::ffff:127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
		},
		{
			"source range, spaces aside", `type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.1/24], ports: [{port: 80}]`,
			`type: LoadBalancer, loadBalancerSourceRanges: [" 192.0.2.1/24"], ports: [{port: 80}]`, ``,
		},
		{
			"source range, new", `type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.1/24], ports: [{port: 80}]`,
			`type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.2/24], ports: [{port: 80}]`,
			`spec.LoadBalancerSourceRanges[0]: Invalid value: "192.0.2.2/24": must not have bits set beyond the prefix length`,
		},
		{"annotation", annotated, annotated, ``},
		{
			"annotation, new", annotated, strings.Replace(annotated, "2.1/", "2.2/", 1),
			`metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: "192.0.2.2/24": must not have bits set beyond the prefix length`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			check(t, row.fault, Validate(t.Context(), stored(t, row.svc), oldObject(t, row.old)))
		})
	}
}

// Rows show the fields that can be wiped as they are after Prepare; "" says that all are gone.
func TestA6_4_Wipe(t *testing.T) {
	const (
		ports = `, ports: [{port: 80, nodePort: 30080}]`
		bare  = `, ports: [{port: 80}]`
		lb    = `type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001, loadBalancerClass: a` + ports
	)
	for _, row := range []struct{ name, old, svc, want string }{
		{
			"to ExternalName", `clusterIP: "$0", clusterIPs: ["$0", "$1"], ipFamilies: [$F0, $F1], ipFamilyPolicy: PreferDualStack` + bare,
			`type: ExternalName, externalName: x, clusterIP: "$0", clusterIPs: ["$0", "$1"], ipFamilies: [$F0, $F1], ipFamilyPolicy: PreferDualStack` + bare, ``,
		},
		{
			"headless to ExternalName", `clusterIP: None, ipFamilies: [$F0], ipFamilyPolicy: SingleStack`,
			`type: ExternalName, externalName: x, clusterIP: None, ipFamilies: [$F0], ipFamilyPolicy: SingleStack`, ``,
		},
		{
			"to ExternalName, all changed", `clusterIP: "$0", ipFamilies: [$F0], ipFamilyPolicy: SingleStack` + bare,
			`type: ExternalName, externalName: x, clusterIP: "$1", ipFamilies: [$F1], ipFamilyPolicy: PreferDualStack` + bare,
			`clusterIP=$1 clusterIPs=$1 ipFamilies=$F1 ipFamilyPolicy=PreferDualStack`,
		},
		{"ExternalName stays", `type: ExternalName, externalName: x`, `type: ExternalName, externalName: x, ipFamilies: [$F0]`, `ipFamilies=$F0`},
		{"NodePort to ClusterIP", `type: NodePort` + ports, `type: ClusterIP` + ports, ``},
		{"NodePort to ClusterIP, fewer", `type: NodePort, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30081}]`, `type: ClusterIP` + ports, ``},
		{"NodePort to ClusterIP, another", `type: NodePort` + ports, `type: ClusterIP, ports: [{port: 80, nodePort: 30081}]`, `nodePort=30081`},
		{"NodePort to ClusterIP, policy changed", `type: NodePort` + ports, `type: ClusterIP, externalTrafficPolicy: Local` + ports, `externalTrafficPolicy=Local`},
		{"NodePort to ExternalName", `type: NodePort` + ports, `type: ExternalName, externalName: x, externalTrafficPolicy: Cluster` + ports, ``},
		{
			"NodePort to LoadBalancer", `type: NodePort` + ports, `type: LoadBalancer, allocateLoadBalancerNodePorts: true` + ports,
			`nodePort=30080 externalTrafficPolicy=Cluster allocateLoadBalancerNodePorts=true`,
		},
		{"LoadBalancer to ClusterIP", lb, strings.Replace(lb, `LoadBalancer`, `ClusterIP, allocateLoadBalancerNodePorts: true`, 1), ``},
		{
			"LoadBalancer to NodePort", lb, strings.Replace(lb, `LoadBalancer`, `NodePort, allocateLoadBalancerNodePorts: true`, 1),
			`nodePort=30080 externalTrafficPolicy=Local`,
		},
		{
			"LoadBalancer to NodePort, all changed", lb, `type: NodePort, allocateLoadBalancerNodePorts: false, loadBalancerClass: b, healthCheckNodePort: 30002` + ports,
			`nodePort=30080 externalTrafficPolicy=Cluster healthCheckNodePort=30002 allocateLoadBalancerNodePorts=false loadBalancerClass=b`,
		},
		{
			"Local to Cluster", lb, strings.Replace(lb, "Local", "Cluster", 1),
			`nodePort=30080 externalTrafficPolicy=Cluster allocateLoadBalancerNodePorts=true loadBalancerClass=a`,
		},
		{"external IPs removed", `externalIPs: [192.0.2.1]` + bare, `externalTrafficPolicy: Cluster` + bare, ``},
		{"created", ``, `type: ExternalName, externalName: x, clusterIP: "$0"` + ports, `clusterIP=$0 clusterIPs=$0 nodePort=30080`},
	} {
		onEach(t, row.name, []string{row.old, row.svc, row.want}, func(t *testing.T, texts []string) {
			svc := stored(t, texts[1])
			Prepare(t.Context(), svc, oldObject(t, texts[0]))
			spec := map[string]any{}
			text, err := yaml.Marshal(svc.Spec)
			if err == nil {
				err = yaml.Unmarshal(text, &spec)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := wipeable(spec); got != texts[2] {
				t.Errorf("got %q, want %q", got, texts[2])
			}
		})
	}
}

func TestA6_4_WipeStatus(t *testing.T) {
	const status = "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n"
	old := stored(t, status+`spec: {type: LoadBalancer, ports: [{port: 80}]}`)
	for specType, want := range map[string]int{"LoadBalancer": 1, "NodePort": 0, "ClusterIP": 0, "ExternalName": 0} {
		svc := stored(t, status+`spec: {type: `+specType+`, ports: [{port: 80}]}`)
		Prepare(t.Context(), svc, old)
		if got := len(svc.Status.LoadBalancer.Ingress); got != want {
			t.Errorf("%s: %d addresses, want %d", specType, got, want)
		}
	}
}

// wipeable shows those fields of a spec that Prepare can bare and has not.
func wipeable(spec map[string]any) string {
	var out []string
	show := func(from map[string]any, name string) {
		value, ok := from[name]
		if !ok {
			return
		}
		if list, is := value.([]any); is {
			texts := make([]string, len(list))
			for i, entry := range list {
				texts[i] = fmt.Sprint(entry)
			}
			value = strings.Join(texts, ",")
		}
		out = append(out, fmt.Sprintf("%s=%v", name, value))
	}
	for _, name := range []string{"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} {
		show(spec, name)
	}
	if ports, is := spec["ports"].([]any); is {
		for _, port := range ports {
			show(port.(map[string]any), "nodePort")
		}
	}
	for _, name := range []string{"externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"} {
		show(spec, name)
	}
	return strings.Join(out, " ")
}
