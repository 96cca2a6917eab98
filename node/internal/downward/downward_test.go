package downward

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// D3.6
func TestFields(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "prod", UID: "u1",
			Labels: map[string]string{"b": "2", "a": "1", "x/y": "3"}, Annotations: map[string]string{"quote": "\"\n"},
		},
		Spec: corev1.PodSpec{NodeName: "worker0", ServiceAccountName: "robot"},
	}
	podIPs := []netip.Addr{netip.MustParseAddr("fd00::4"), netip.MustParseAddr("10.200.0.4")}
	for _, tt := range []struct{ path, env, volume string }{
		{"metadata.name", "web", "web"},
		{"metadata.namespace", "prod", "prod"},
		{"metadata.uid", "u1", "u1"},
		{"metadata.labels", "a=\"1\"\nb=\"2\"\nx/y=\"3\"", "a=\"1\"\nb=\"2\"\nx/y=\"3\""},
		{"metadata.labels['x/y']", "3", "3"},
		{"metadata.labels['none']", "", ""},
		{"metadata.annotations", `quote="\"\n"`, `quote="\"\n"`},
		{"metadata.annotations['quote']", "\"\n", "\"\n"},
		{"metadata.name['x']", `fieldPath "metadata.name['x']" does not support subscript`, `fieldPath "metadata.name['x']" does not support subscript`},
		{"spec.nodeName", "worker0", "unsupported fieldPath: spec.nodeName"},
		{"spec.serviceAccountName", "robot", "unsupported fieldPath: spec.serviceAccountName"},
		{"status.podIP", "fd00::4", "unsupported fieldPath: status.podIP"},
		{"status.podIPs", "fd00::4,10.200.0.4", "unsupported fieldPath: status.podIPs"},
		{"status.hostIP", "", "unsupported fieldPath: status.hostIP"},
		{"status.hostIPs", "", "unsupported fieldPath: status.hostIPs"},
		{"spec.restartPolicy", "unsupported fieldPath: spec.restartPolicy", "unsupported fieldPath: spec.restartPolicy"},
	} {
		if got := text(EnvField(pod, podIPs, nil, tt.path)); got != tt.env {
			t.Errorf("env, %s: got %q, want %q", tt.path, got, tt.env)
		}
		if got := text(Field(pod, tt.path)); got != tt.volume {
			t.Errorf("volume, %s: got %q, want %q", tt.path, got, tt.volume)
		}
	}
}

func text(value string, err error) string {
	if err != nil {
		return err.Error()
	}
	return value
}

func TestResource(t *testing.T) {
	c := &corev1.Container{Name: "main", Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1250m"), "hugepages-2Mi": resource.MustParse("4Mi")},
		Requests: corev1.ResourceList{"memory": resource.MustParse("1Gi")},
	}}
	node := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"memory": resource.MustParse("8Gi")}}}
	for _, tt := range []struct {
		resource, divisor string
		node              *corev1.Node
		want              string
	}{
		{"limits.cpu", "", nil, "2"},
		{"limits.cpu", "1m", nil, "1250"},
		{"limits.hugepages-2Mi", "1Mi", nil, "4"},
		{"requests.memory", "1M", nil, "1074"},
		{"requests.ephemeral-storage", "", nil, "0"},
		{"limits.memory", "1Gi", node, "8"},
		{"limits.memory", "1Gi", nil, "container main has no limits.memory, and what the node can give is not known yet"},
		{"limits.gpu", "", node, "unsupported container resource : limits.gpu"},
		{"memory", "", node, "unsupported container resource : memory"},
		{"wishes.cpu", "", node, "unsupported container resource : wishes.cpu"},
	} {
		ref := &corev1.ResourceFieldSelector{Resource: tt.resource}
		if tt.divisor != "" {
			ref.Divisor = resource.MustParse(tt.divisor)
		}
		if got := text(Resource(c, ref, tt.node)); got != tt.want {
			t.Errorf("%s in %q: got %q, want %q", tt.resource, tt.divisor, got, tt.want)
		}
	}
}
