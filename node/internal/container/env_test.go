package container

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// stacks are the orders in which a Pod's addresses can come.
var stacks = []struct {
	name string
	pod  []netip.Addr
	host []netip.Addr
}{
	{"v4", addrs("10.200.0.4"), addrs("192.0.2.1")},
	{"v6", addrs("fd00:10:200::4"), addrs("2001:db8::1")},
	{"v4+v6", addrs("10.200.0.4", "fd00:10:200::4"), addrs("192.0.2.1", "2001:db8::1")},
	{"v6+v4", addrs("fd00:10:200::4", "10.200.0.4"), addrs("2001:db8::1", "192.0.2.1")},
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// podOf reads a Pod's spec and gives it what every Pod has.
func podOf(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "prod", UID: "11111111-2222-3333-4444-555555555555",
		Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "a b"},
	}}
	if err := yaml.UnmarshalStrict([]byte(spec), &pod.Spec); err != nil {
		t.Fatal(err)
	}
	return pod
}

// input is a container of a Pod on a dual-stack node.
func input(t *testing.T, spec string) Input {
	pod := podOf(t, spec)
	return Input{
		Pod: pod, Container: &pod.Spec.Containers[0], PodIPs: stacks[2].pod, HostIPs: stacks[2].host,
		ConfigMap: func(name string) (*corev1.ConfigMap, error) {
			switch name {
			case "settings":
				return &corev1.ConfigMap{Data: map[string]string{"b": "2", "a": "1", "dotted.key": "3"}}, nil
			case "broken":
				return nil, errors.New("connection refused")
			}
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
		},
		Secret: func(name string) (*corev1.Secret, error) {
			if name == "keys" {
				return &corev1.Secret{Data: map[string][]byte{"password": []byte("s3")}}, nil
			}
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
		},
		Node: &corev1.Node{Status: corev1.NodeStatus{
			Capacity:    corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("10Gi")},
			Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourceCPU: resource.MustParse("1500m")},
		}},
		Image: Image{Ref: "sha256:abc", User: "nginx:latest"},
	}
}

// envText renders an environment as `env` prints it.
func envText(in Input) string {
	env, err := Env(in)
	if err != nil {
		return Reason(err) + ": " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, kv := range env {
		fmt.Fprintf(&b, "%s=%s\n", kv.Key, kv.Value)
	}
	return b.String()
}

func TestEnv(t *testing.T) {
	for _, tt := range []struct{ name, container, want string }{
		{"none", "", ""},
		{"values", "env: [{name: A, value: x}, {name: B, value: ''}]", "A=x\nB=\n"},
		{"twice, the later wins", "env: [{name: A, value: x}, {name: B, value: b}, {name: A, value: z}]", "A=z\nB=b\n"},
		{"references to what comes before", "env: [{name: A, value: x}, {name: B, value: $(A)-$(C)-$$(A)-$A}, {name: C, value: c}]", "A=x\nB=x-$(C)-$(A)-$A\nC=c\n"},
		{"ConfigMap key", "env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: a}}}]", "A=1\n"},
		{"Secret key", "env: [{name: A, valueFrom: {secretKeyRef: {name: keys, key: password}}}]", "A=s3\n"},
		{"no such ConfigMap", "env: [{name: A, valueFrom: {configMapKeyRef: {name: nope, key: a}}}]", "CreateContainerConfigError: configmap \"nope\" not found\n"},
		{"no such Secret", "env: [{name: A, valueFrom: {secretKeyRef: {name: nope, key: a}}}]", "CreateContainerConfigError: secret \"nope\" not found\n"},
		{"server away", "env: [{name: A, valueFrom: {configMapKeyRef: {name: broken, key: a, optional: true}}}]", "CreateContainerConfigError: connection refused\n"},
		{"no such ConfigMap, optional", "env: [{name: A, valueFrom: {configMapKeyRef: {name: nope, key: a, optional: true}}}]", ""},
		{"no such key", "env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: z}}}]", "CreateContainerConfigError: couldn't find key z in ConfigMap prod/settings\n"},
		{"no such key of a Secret", "env: [{name: A, valueFrom: {secretKeyRef: {name: keys, key: z}}}]", "CreateContainerConfigError: couldn't find key z in Secret prod/keys\n"},
		{"no such key, optional", "env: [{name: A, valueFrom: {secretKeyRef: {name: keys, key: z, optional: true}}}]", ""},
		{"envFrom", "envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: keys}, prefix: K_}]", "a=1\nb=2\ndotted.key=3\nK_password=s3\n"},
		{"env wins over envFrom", "envFrom: [{configMapRef: {name: settings}}]\nenv: [{name: b, value: $(a)0}]", "a=1\nb=10\ndotted.key=3\n"},
		{"envFrom, nothing there", "envFrom: [{secretRef: {name: nope}}]", "CreateContainerConfigError: secret \"nope\" not found\n"},
		{"envFrom, optional", "envFrom: [{configMapRef: {name: nope, optional: true}}]", ""},
		{"metadata", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}, {name: C, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}, {name: D, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}, {name: E, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['none']\"}}}]", "A=web\nB=prod\nC=11111111-2222-3333-4444-555555555555\nD=web\nE=\n"},
		{"spec", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}, {name: B, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}]", "A=worker0\nB=robot\n"},
		{"unknown field", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.color}}}]", "CreateContainerConfigError: unsupported fieldPath: spec.color\n"},
		{"resources", "resources: {limits: {memory: 100Mi}, requests: {cpu: 250m}}\nenv: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.memory}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}}, {name: C, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}, {name: D, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}, {name: E, valueFrom: {resourceFieldRef: {resource: requests.memory}}}]", "A=104857600\nB=1\nC=1\nD=250\nE=0\n"},
		{"limits from the node", "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]", "A=8\nB=2\n"},
		{"unknown resource", "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.time}}}]", "CreateContainerConfigError: unsupported container resource : limits.time\n"},
		{"unknown container", "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, containerName: other}}}]", "CreateContainerConfigError: container other not found\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "nodeName: worker0\nserviceAccountName: robot\ncontainers:\n- name: main\n  "+strings.ReplaceAll(tt.container, "\n", "\n  "))
			if got := envText(in); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// D3.6: addresses in the Pod's order, with a comma and no space.
func TestEnvAddresses(t *testing.T) {
	want := map[string]string{
		"v4":    "IP=10.200.0.4\nIPS=10.200.0.4\nHOST=192.0.2.1\nHOSTS=192.0.2.1\n",
		"v6":    "IP=fd00:10:200::4\nIPS=fd00:10:200::4\nHOST=2001:db8::1\nHOSTS=2001:db8::1\n",
		"v4+v6": "IP=10.200.0.4\nIPS=10.200.0.4,fd00:10:200::4\nHOST=192.0.2.1\nHOSTS=192.0.2.1,2001:db8::1\n",
		"v6+v4": "IP=fd00:10:200::4\nIPS=fd00:10:200::4,10.200.0.4\nHOST=2001:db8::1\nHOSTS=2001:db8::1,192.0.2.1\n",
	}
	for _, s := range stacks {
		t.Run(s.name, func(t *testing.T) {
			in := input(t, `
containers:
- name: main
  env:
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
  - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
  - {name: HOSTS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
`)
			in.PodIPs, in.HostIPs = s.pod, s.host
			if got := envText(in); got != want[s.name] {
				t.Errorf("got\n%s\nwant\n%s", got, want[s.name])
			}
		})
	}
}

func service(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: ports},
	}
}

// D3.8
func TestEnvServices(t *testing.T) {
	https := corev1.ServicePort{Name: "https", Port: 443}
	kubernetes := service("default", "kubernetes", "10.96.0.1", https)
	const kubernetesText = "KUBERNETES_PORT=tcp://10.96.0.1:443\nKUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443\nKUBERNETES_PORT_443_TCP_ADDR=10.96.0.1\n" +
		"KUBERNETES_PORT_443_TCP_PORT=443\nKUBERNETES_PORT_443_TCP_PROTO=tcp\nKUBERNETES_SERVICE_HOST=10.96.0.1\nKUBERNETES_SERVICE_PORT=443\nKUBERNETES_SERVICE_PORT_HTTPS=443\n"
	dns := service("prod", "my-dns", "fd00:10:96::a", corev1.ServicePort{Name: "dns-udp", Port: 53, Protocol: corev1.ProtocolUDP}, corev1.ServicePort{Port: 54, Protocol: corev1.ProtocolSCTP})
	for _, tt := range []struct {
		name, spec string
		services   []*corev1.Service
		want       string
	}{
		{"kubernetes from everywhere", "", []*corev1.Service{kubernetes, service("default", "other", "10.96.0.2", https)}, kubernetesText},
		{"one of its own by that name", "", []*corev1.Service{service("prod", "kubernetes", "10.96.0.9"), kubernetes}, "KUBERNETES_SERVICE_HOST=10.96.0.9\n"},
		{"IPv6, several ports", "", []*corev1.Service{dns}, "MY_DNS_PORT=udp://[fd00:10:96::a]:53\nMY_DNS_PORT_53_UDP=udp://[fd00:10:96::a]:53\nMY_DNS_PORT_53_UDP_ADDR=fd00:10:96::a\nMY_DNS_PORT_53_UDP_PORT=53\nMY_DNS_PORT_53_UDP_PROTO=udp\n" +
			"MY_DNS_PORT_54_SCTP=sctp://[fd00:10:96::a]:54\nMY_DNS_PORT_54_SCTP_ADDR=fd00:10:96::a\nMY_DNS_PORT_54_SCTP_PORT=54\nMY_DNS_PORT_54_SCTP_PROTO=sctp\nMY_DNS_SERVICE_HOST=fd00:10:96::a\nMY_DNS_SERVICE_PORT=53\nMY_DNS_SERVICE_PORT_DNS_UDP=53\n"},
		{"headless and external", "", []*corev1.Service{service("prod", "headless", "None", https), service("prod", "external", "")}, ""},
		{"no links", "enableServiceLinks: false\n", []*corev1.Service{dns, kubernetes}, kubernetesText},
		{"env wins", "", []*corev1.Service{service("prod", "a", "10.96.0.3")}, "A_SERVICE_HOST=10.96.0.3\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.spec+"containers: [{name: main}]")
			in.Services = tt.services
			if got := envText(in); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
	in := input(t, "containers: [{name: main, env: [{name: X, value: $(A_SERVICE_HOST)}, {name: A_SERVICE_HOST, value: mine}]}]")
	in.Services = []*corev1.Service{service("prod", "a", "10.96.0.3")}
	if got, want := envText(in), "X=10.96.0.3\nA_SERVICE_HOST=mine\n"; got != want {
		t.Errorf("reference and override: got\n%s\nwant\n%s", got, want)
	}
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "EMPTY": "", "NEST": "$(A)"}
	for text, want := range map[string]string{
		"":                "",
		"plain":           "plain",
		"$(A)":            "1",
		"x$(A)y$(A)z":     "x1y1z",
		"$$(A)":           "$(A)",
		"$$$(A)":          "$1",
		"$$$$":            "$$",
		"$(B)":            "$(B)",
		"$(EMPTY)":        "",
		"$(NEST)":         "$(A)",
		"$":               "$",
		"a$":              "a$",
		"$(A":             "$(A",
		"$A":              "$A",
		"$(A$(A)":         "$(A$(A)",
		"cost: $5, $(A)!": "cost: $5, 1!",
	} {
		if got := Expand(text, env); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if _, err := ExpandStrict("$(A)/$(B)", env); err == nil || err.Error() != `missing value for "B"` {
		t.Errorf("strict: %v", err)
	}
}
