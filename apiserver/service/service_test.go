package service

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// sent is the Service that text, the YAML of its spec or of a whole object, becomes when decoded.
func sent(t testing.TB, text string) *corev1.Service {
	t.Helper()
	if !strings.HasPrefix(text, "spec:") && !strings.HasPrefix(text, "metadata:") && !strings.HasPrefix(text, "status:") {
		text = "spec: {" + text + "}"
	}
	svc := &corev1.Service{}
	if err := yaml.UnmarshalStrict([]byte(text), svc); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	svc.Name = "web"
	Default(svc)
	return svc
}

// stored is sent with what clusterip.Plan would have filled in, where text has not said otherwise.
func stored(t testing.TB, text string) *corev1.Service {
	t.Helper()
	svc := sent(t, text)
	if len(svc.Spec.ClusterIPs) == 0 && svc.Spec.ClusterIP != "" {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	return svc
}

// fault is what a user sees of errs, without `Service "web" is invalid: `; "" if there are none.
func fault(t testing.TB, errs field.ErrorList) string {
	t.Helper()
	if len(errs) == 0 {
		return ""
	}
	text, ok := strings.CutPrefix(apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "web", errs).Error(), `Service "web" is invalid: `)
	if !ok {
		t.Fatalf("unexpected start: %s", text)
	}
	return text
}

// oldObject is the stored Service of text; of "" it is no object at all, not a nil *Service.
func oldObject(t testing.TB, text string) runtime.Object {
	t.Helper()
	if text == "" {
		return nil
	}
	return stored(t, text)
}

// cluster has the addresses and families which tests name by position: $0 and $1 are addresses of
// the first and second family, $F0 and $F1 those families. A single-stack cluster has one of each.
type cluster struct {
	name     string
	ips      []string
	families []string
}

var clusters = []cluster{
	{"v4", []string{"10.96.0.7"}, []string{"IPv4"}},
	{"v6", []string{"fd00:10:96::7"}, []string{"IPv6"}},
	{"v4+v6", []string{"10.96.0.7", "fd00:10:96::7"}, []string{"IPv4", "IPv6"}},
	{"v6+v4", []string{"fd00:10:96::7", "10.96.0.7"}, []string{"IPv6", "IPv4"}},
}

// in replaces $0, $1, $F0, $F1; ok is false if the cluster has no second family and text wants it.
func (c cluster) in(text string) (_ string, ok bool) {
	for i := range c.ips {
		n := string(rune('0' + i))
		text = strings.NewReplacer("$F"+n, c.families[i], "$"+n, c.ips[i]).Replace(text)
	}
	return text, !strings.Contains(text, "$")
}

// onEach runs test for every cluster that has what the texts name.
func onEach(t *testing.T, name string, texts []string, test func(t *testing.T, texts []string)) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range clusters {
		replaced, all := make([]string, len(texts)), true
		for i, text := range texts {
			var ok bool
			replaced[i], ok = c.in(text)
			all = all && ok
		}
		if key := strings.Join(replaced, "\n"); all && !seen[key] {
			seen[key] = true
			t.Run(name+"/"+c.name, func(t *testing.T) { test(t, replaced) })
		}
	}
}

func TestA1_Defaults(t *testing.T) {
	for _, row := range []struct{ name, sent, want string }{
		{"A1.1-A1.4, A1.7 everything omitted", `ports: [{port: 80}]`, `
internalTrafficPolicy: Cluster
ports:
- port: 80
  protocol: TCP
  targetPort: 80
sessionAffinity: None
type: ClusterIP`},
		{"A1.2, A1.3 given values stay", `ports: [{port: 80, protocol: UDP, targetPort: dns}, {port: 81, targetPort: 8081}, {port: 82, targetPort: ""}]`, `
internalTrafficPolicy: Cluster
ports:
- port: 80
  protocol: UDP
  targetPort: dns
- port: 81
  protocol: TCP
  targetPort: 8081
- port: 82
  protocol: TCP
  targetPort: 82
sessionAffinity: None
type: ClusterIP`},
		{"A1.3, A1.7 headless too", `clusterIP: None, ports: [{port: 80, targetPort: 0}]`, `
clusterIP: None
internalTrafficPolicy: Cluster
ports:
- port: 80
  protocol: TCP
  targetPort: 80
sessionAffinity: None
type: ClusterIP`},
		{"A1.5 a configuration without affinity goes", `sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}`, `
internalTrafficPolicy: Cluster
sessionAffinity: None
type: ClusterIP`},
		{"A1.5 affinity without a timeout", `sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {}}`, `
internalTrafficPolicy: Cluster
sessionAffinity: ClientIP
sessionAffinityConfig:
  clientIP:
    timeoutSeconds: 10800
type: ClusterIP`},
		{"A1.5 a timeout stays", `sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}`, `
internalTrafficPolicy: Cluster
sessionAffinity: ClientIP
sessionAffinityConfig:
  clientIP:
    timeoutSeconds: 5
type: ClusterIP`},
		{"A1.6 NodePort", `type: NodePort`, `
externalTrafficPolicy: Cluster
internalTrafficPolicy: Cluster
sessionAffinity: None
type: NodePort`},
		{"A1.6 external IPs", `externalIPs: [192.0.2.1]`, `
externalIPs:
- 192.0.2.1
externalTrafficPolicy: Cluster
internalTrafficPolicy: Cluster
sessionAffinity: None
type: ClusterIP`},
		{"A1.6, A1.7 given policies stay", `type: NodePort, externalTrafficPolicy: Local, internalTrafficPolicy: Local`, `
externalTrafficPolicy: Local
internalTrafficPolicy: Local
sessionAffinity: None
type: NodePort`},
		{"A1.6, A1.8 LoadBalancer", `type: LoadBalancer`, `
allocateLoadBalancerNodePorts: true
externalTrafficPolicy: Cluster
internalTrafficPolicy: Cluster
sessionAffinity: None
type: LoadBalancer`},
		{"A1.8 false stays", `type: LoadBalancer, allocateLoadBalancerNodePorts: false`, `
allocateLoadBalancerNodePorts: false
externalTrafficPolicy: Cluster
internalTrafficPolicy: Cluster
sessionAffinity: None
type: LoadBalancer`},
		{"A1.6, A1.7 ExternalName has no policy", `type: ExternalName, externalName: example.com, externalIPs: [192.0.2.1]`, `
externalIPs:
- 192.0.2.1
externalName: example.com
sessionAffinity: None
type: ExternalName`},
		{"A5.17 but keeps one", `type: ExternalName, externalName: example.com, internalTrafficPolicy: Local`, `
externalName: example.com
internalTrafficPolicy: Local
sessionAffinity: None
type: ExternalName`},
	} {
		t.Run(row.name, func(t *testing.T) {
			svc := sent(t, row.sent)
			for range 2 { // idempotent
				got, err := yaml.Marshal(svc.Spec)
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.TrimPrefix(row.want, "\n") + "\n"; string(got) != want {
					t.Errorf("got:\n%swant:\n%s", got, want)
				}
				Default(svc)
			}
		})
	}
}

func TestA1_9_DefaultIPMode(t *testing.T) {
	const ingress = `status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: "2001:db8::1", ipMode: Proxy}, {hostname: lb.example.com}]}}`
	for specType, want := range map[string]string{"LoadBalancer": "VIP Proxy -", "ClusterIP": "- Proxy -"} {
		svc := sent(t, ingress+"\nspec: {type: "+specType+"}")
		var got []string
		for _, entry := range svc.Status.LoadBalancer.Ingress {
			if entry.IPMode == nil {
				got = append(got, "-")
			} else {
				got = append(got, string(*entry.IPMode))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", specType, got, want)
		}
	}
}

func TestA1_11_Fields(t *testing.T) {
	onEach(t, "clusterIP", []string{`type: NodePort, clusterIP: "$0"`, "spec.clusterIP=$0,spec.type=NodePort"}, func(t *testing.T, texts []string) {
		if got := Fields(sent(t, texts[0])).String(); got != texts[1] {
			t.Errorf("got %s, want %s", got, texts[1])
		}
	})
}

func TestA5_1_Name(t *testing.T) {
	const bad = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
	for _, row := range []struct {
		name   string
		prefix bool
		want   string
	}{
		{"web", false, ""},
		{"1st", false, ""},
		{"web-", true, ""},
		{"web-", false, bad},
		{"Web", false, bad},
		{"", false, bad},
		{"web.default", false, "must not contain dots"},
		{strings.Repeat("a", 64), false, "must be no more than 63 characters"},
	} {
		if got := strings.Join(Name(row.name, row.prefix), "; "); got != row.want {
			t.Errorf("%q: got %q, want %q", row.name, got, row.want)
		}
	}
}

func TestColumnsFitDefinitions(t *testing.T) {
	columns := Columns()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	if row := columns.Row(svc); len(row) != len(columns.Definitions) {
		t.Errorf("%d cells for %d definitions", len(row), len(columns.Definitions))
	}
}
