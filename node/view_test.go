package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPortsOf: a port is forwarded in the families that its hostIP has, to that family's address.
func TestPortsOf(t *testing.T) {
	four, six := netip.MustParseAddr("10.244.0.5"), netip.MustParseAddr("fd00::5")
	for _, stack := range []struct {
		name string
		ips  []netip.Addr
	}{{"v4", []netip.Addr{four}}, {"v6", []netip.Addr{six}}, {"v4+v6", []netip.Addr{four, six}}, {"v6+v4", []netip.Addr{six, four}}} {
		for hostIP, at := range map[string]map[netip.Addr]string{
			"":            {four: "*:80>10.244.0.5:8080", six: "*:80>[fd00::5]:8080"},
			"0.0.0.0":     {four: "*:80>10.244.0.5:8080"},
			"::":          {six: "*:80>[fd00::5]:8080"},
			"127.0.0.1":   {four: "127.0.0.1:80>10.244.0.5:8080"},
			"::1":         {six: "::1:80>[fd00::5]:8080"},
			"172.30.0.3":  {four: "172.30.0.3:80>10.244.0.5:8080"},
			"fd00:172::3": {six: "fd00:172::3:80>[fd00::5]:8080"},
		} {
			t.Run(stack.name+" "+hostIP, func(t *testing.T) {
				var want, got []string
				for _, ip := range stack.ips {
					if at[ip] != "" {
						want = append(want, at[ip])
					}
				}
				pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
					{ContainerPort: 8080, HostPort: 80, HostIP: hostIP, Protocol: corev1.ProtocolTCP}, {ContainerPort: 1, Protocol: corev1.ProtocolTCP},
				}}}}}
				for _, p := range portsOf(pod, stack.ips) {
					from := "*"
					if p.At.IsValid() {
						from = p.At.String()
					}
					got = append(got, fmt.Sprintf("%s:%d>%s", from, p.Port, p.To))
				}
				if strings.Join(got, " ") != strings.Join(want, " ") {
					t.Errorf("got %v, want %v", got, want)
				}
				pod.Spec.HostNetwork = true
				if len(portsOf(pod, stack.ips)) > 0 {
					t.Error("forwarded to itself")
				}
			})
		}
	}
}
