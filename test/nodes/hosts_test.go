package nodes

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/test/cluster"
)

// head is the beginning of the hosts file of every Pod.
const head = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"

// ownLines are what the file says of the Pod itself.
func ownLines(pod *corev1.Pod) string {
	var out strings.Builder
	for _, ip := range pod.Status.PodIPs {
		fmt.Fprintf(&out, "%s\t%s\n", ip.IP, pod.Name)
	}
	return out.String()
}

func TestHostsFiles(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--nodes", "1")
	aliases := make([]corev1.HostAlias, 10000)
	wanted := "\n# Entries added by HostAliases.\n"
	for i := range aliases {
		ip := fmt.Sprintf("10.%d.%d.%d", 1+i/65536, i/256%256, i%256)
		if i%2 == 1 {
			ip = fmt.Sprintf("2001:db8::%x", i)
		}
		aliases[i] = corev1.HostAlias{IP: ip, Hostnames: []string{fmt.Sprintf("host-%d.example", i), fmt.Sprintf("h%d", i)}}
		wanted += fmt.Sprintf("%s\thost-%d.example\th%d\n", ip, i, i)
	}
	l.Create(t,
		cluster.Busybox("big", cluster.Forever, func(p *corev1.Pod) { p.Spec.HostAliases = aliases }),
		cluster.Busybox("edited", cluster.Forever, func(p *corev1.Pod) {
			other := *p.Spec.Containers[0].DeepCopy()
			other.Name = "other"
			p.Spec.Containers = append(p.Spec.Containers, other)
		}),
	)
	big, edited := l.Ready(t, "big", "edited")[0], "edited"
	if got, want := l.Must(t, "kubectl", "exec", "big", "--", "cat", "/etc/hosts"), head+ownLines(big)+wanted; got != want {
		t.Errorf("the file of big has %d bytes, want %d", len(got), len(want))
	}

	pod := l.Ready(t, edited)[0]
	want := head + ownLines(pod)
	exec := func(container, script string) string {
		return l.Must(t, "kubectl", "exec", edited, "-c", container, "--", "sh", "-c", script)
	}
	exec("c", "echo 192.0.2.9 edited >>/etc/hosts; echo 2001:db8::9 edited6 >>/etc/hosts")
	if got := exec("other", "cat /etc/hosts"); got != want+"192.0.2.9 edited\n2001:db8::9 edited6\n" {
		t.Errorf("the other container sees\n%s", got)
	}
	l.killInside(t, pod)
	cluster.Eventually(t, "the restart", func() string {
		now, err := l.Client.CoreV1().Pods("default").Get(t.Context(), edited, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if s := now.Status.ContainerStatuses; s[0].RestartCount != 1 || !cluster.IsReady(now) || s[1].ContainerID != pod.Status.ContainerStatuses[1].ContainerID {
			return cluster.Shown(&now.Status)
		}
		return ""
	})
	for _, container := range []string{"c", "other"} {
		if got := exec(container, "cat /etc/hosts"); got != want {
			t.Errorf("after the restart %s sees\n%s", container, got)
		}
		if got := exec(container, "stat -c '%a %u %g' /etc/hosts"); got != "644 0 0\n" {
			t.Errorf("the file of %s is %s", container, got)
		}
	}
	cluster.Eventually(t, "the event with the lost lines", func() string {
		events, err := l.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=edited,reason=HostsFileOverwritten"})
		if err != nil {
			return err.Error()
		}
		if len(events.Items) != 1 || events.Items[0].Type != corev1.EventTypeWarning ||
			!strings.Contains(events.Items[0].Message, "192.0.2.9 edited") || !strings.Contains(events.Items[0].Message, "2001:db8::9 edited6") {
			return fmt.Sprint(events.Items)
		}
		return ""
	})
}
