package health

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/dualstack"
)

const here = "node0"

// balanced is a Service with a health-check port, and these ClusterIPs.
func balanced(name string, port int32, clusterIPs ...string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIPs: clusterIPs, HealthCheckNodePort: port,
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Ports:                 []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}},
		},
	}
}

// slices are one for each line: "address NODE STATE".
func slices(service string, lines ...string) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for i, line := range lines {
		f := strings.Fields(line)
		s := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: fmt.Sprint(service, "-", i), Labels: map[string]string{discoveryv1.LabelServiceName: service},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: f[:1], NodeName: &f[1], Conditions: discoveryv1.EndpointConditions{
				Ready: new(f[2] == "ready"), Serving: new(f[2] != "no"), Terminating: new(f[2] == "ending"),
			}}},
		}
		if strings.Contains(f[0], ":") {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
		out = append(out, s)
	}
	return out
}

func TestWanted(t *testing.T) {
	type counts = map[dualstack.Family]int
	const v4, v6 = dualstack.IPv4, dualstack.IPv6
	both := []string{"10.244.0.2 node0 ready", "fd00::2 node0 ready", "10.244.0.3 node0 ready", "10.244.1.2 node1 ready", "fd00::3 node0 no"}
	for _, tt := range []struct {
		name  string
		svc   *corev1.Service
		lines []string
		want  counts
	}{
		{"IPv4", balanced("s", 30100, "10.96.0.1"), both, counts{v4: 2}},
		{"IPv6", balanced("s", 30100, "fd00:96::1"), both, counts{v6: 1}},
		{"both", balanced("s", 30100, "10.96.0.1", "fd00:96::1"), both, counts{v4: 2, v6: 1}},
		{"both, in the other order", balanced("s", 30100, "fd00:96::1", "10.96.0.1"), both, counts{v4: 2, v6: 1}},
		{"none here", balanced("s", 30100, "10.96.0.1"), []string{"10.244.1.2 node1 ready"}, counts{v4: 0}},
		{"about to end", balanced("s", 30100, "10.96.0.1"), []string{"10.244.0.2 node0 ending"}, counts{v4: 0}},
		{"in two slices", balanced("s", 30100, "10.96.0.1"), []string{"10.244.0.2 node0 ready", "10.244.0.2 node0 ready"}, counts{v4: 1}},
		{"no slices", balanced("s", 30100, "10.96.0.1", "fd00:96::1"), nil, counts{v4: 0, v6: 0}},
		{"no port", balanced("s", 0, "10.96.0.1"), both, nil},
		{"headless", balanced("s", 30100, "None"), both, nil},
	} {
		got := Wanted(tt.svc, slices("s", tt.lines...), here)
		if !maps.Equal(got.Local, tt.want) || (got.Port == 30100) != (tt.want != nil) {
			t.Errorf("%s: got port %d, %v, want %v", tt.name, got.Port, got.Local, tt.want)
		}
	}
	for name, change := range map[string]func(*corev1.Service){
		"of another proxy": func(s *corev1.Service) {
			s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "another"}
		},
		"cluster policy": func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster },
		"no balancer":    func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort },
	} {
		svc := balanced("s", 30100, "10.96.0.1")
		change(svc)
		if got := Wanted(svc, slices("s", both...), here); got.Port != 0 {
			t.Errorf("%s: port %d", name, got.Port)
		}
	}
	if got := Wanted(nil, nil, here); got.Port != 0 {
		t.Errorf("no Service: port %d", got.Port)
	}
}
