//nolint:staticcheck // Endpoints are deprecated, and this is the package that keeps them
package endpoints

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pod makes one; "!" in front of its addresses says that it is not ready, "-" that it terminates.
func pod(name, addresses string, web int32) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: web, Protocol: corev1.ProtocolTCP}}}}
	if strings.HasPrefix(addresses, "-") {
		now := metav1.Now()
		p.DeletionTimestamp = &now
	}
	if !strings.HasPrefix(addresses, "!") {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	for ip := range strings.FieldsSeq(strings.TrimLeft(addresses, "!-")) {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(p.Status.PodIPs) > 0 {
		p.Status.PodIP = p.Status.PodIPs[0].IP
	}
	return p
}

// shown is the subsets, one in brackets each: ready ones, not ready ones behind "!", ports.
func shown(e *corev1.Endpoints) string {
	var out []string
	for _, s := range e.Subsets {
		text := ""
		for _, a := range s.Addresses {
			text += a.IP + " "
		}
		for _, a := range s.NotReadyAddresses {
			text += "!" + a.IP + " "
		}
		for _, p := range s.Ports {
			text += fmt.Sprintf("%s:%d ", p.Name, p.Port)
		}
		out = append(out, "["+strings.TrimSpace(text)+"]")
	}
	return strings.Join(out, " ")
}

func TestDesired(t *testing.T) {
	pods := []*corev1.Pod{
		pod("a", "10.244.0.1 fd00::1", 8080), pod("b", "!10.244.0.2 fd00::2", 8080), pod("c", "-10.244.0.3", 8080),
		pod("d", "10.244.0.4", 9090), pod("e", "fd00::5", 9090), pod("f", "", 8080),
	}
	number, named := intstr.FromInt32(80), intstr.FromString("web")
	for _, row := range []struct {
		name, families string
		change         func(*corev1.Service)
		want           string
	}{
		{"v4", "IPv4", nil, "[10.244.0.1 10.244.0.4 !10.244.0.2 n:80]"},
		{"v6", "IPv6", nil, "[fd00::1 fd00::5 !fd00::2 n:80]"},
		{"v4+v6", "IPv4 IPv6", nil, "[10.244.0.1 10.244.0.4 !10.244.0.2 n:80]"},
		{"v6+v4", "IPv6 IPv4", nil, "[fd00::1 fd00::5 !fd00::2 n:80]"},
		{"D4.9 no families", "", nil, "[10.244.0.1 10.244.0.4 !10.244.0.2 n:80]"},
		{"named port differs", "IPv4", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = named }, "[10.244.0.1 !10.244.0.2 n:8080] [10.244.0.4 n:9090]"},
		{"publishes all", "IPv4", func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }, "[10.244.0.1 10.244.0.2 10.244.0.3 10.244.0.4 n:80]"},
		{"headless without ports", "IPv4", func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.Ports = "None", nil }, "[10.244.0.1 10.244.0.4 !10.244.0.2]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s", Labels: map[string]string{"x": "y"}}}
			svc.Spec = corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Name: "n", Port: 80, TargetPort: number, Protocol: corev1.ProtocolTCP}}}
			for f := range strings.FieldsSeq(row.families) {
				svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, corev1.IPFamily(f))
			}
			if row.change != nil {
				row.change(svc)
			}
			e := desired(svc, pods)
			if got := shown(e); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			_, headless := e.Labels[corev1.IsHeadlessService]
			if e.Labels["x"] != "y" || e.Labels[labelManagedBy] != managedBy || headless != (svc.Spec.ClusterIP == "None") {
				t.Errorf("labels %v", e.Labels)
			}
		})
	}
}

// D4.9: a thousand, ready ones first.
func TestOverCapacity(t *testing.T) {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}}}
	var pods []*corev1.Pod
	for i := range 1200 {
		mark := ""
		if i%4 == 0 {
			mark = "!"
		}
		pods = append(pods, pod(fmt.Sprint(i), fmt.Sprintf("%s10.1.%d.%d", mark, i/200, i%200), 80))
	}
	e := desired(svc, pods)
	if s := e.Subsets[0]; len(e.Subsets) != 1 || len(s.Addresses) != 900 || len(s.NotReadyAddresses) != 100 || e.Annotations[overCapacity] != truncated {
		t.Errorf("%d ready, %d not ready, annotations %v", len(s.Addresses), len(s.NotReadyAddresses), e.Annotations)
	}
}
