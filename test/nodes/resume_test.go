package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/test/cluster"
)

// TestUpResumes kills one part after another; what `up` finds alive it leaves alone.
func TestUpResumes(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--nodes", "2")
	l.Create(t, cluster.Busybox("zero", cluster.Forever, cluster.On("worker0")), cluster.Busybox("one", cluster.Forever, cluster.On("worker1")))
	pods := l.Ready(t, "zero", "one")

	for _, step := range []struct {
		name    string
		kill    func()
		reborn  []string // Pods whose node died: the same objects in new containers
		started bool     // whether only new containers tell that the node is back
	}{
		{"server", func() { l.Kill(t, cluster.Server, "") }, nil, false},
		{"box", func() { l.Kill(t, cluster.Box, "worker1") }, []string{"one"}, true},
		{"everything", func() {
			l.Kill(t, cluster.Server, "")
			l.Kill(t, cluster.Box, "worker0")
			l.Kill(t, cluster.Box, "worker1")
		}, []string{"zero", "one"}, true},
	} {
		step.kill()
		l.Up(t)
		if step.started {
			for i, pod := range pods {
				if slices.Contains(step.reborn, pod.Name) {
					pods[i] = l.reborn(t, pod)
				}
			}
		}
		if got, want := identities(l.Ready(t, "zero", "one")), identities(pods); got != want {
			t.Fatalf("after %s died: now\n%s\nbefore\n%s", step.name, got, want)
		}
		name := "after-" + step.name
		l.Create(t, cluster.Busybox(name, cluster.Forever, cluster.On("worker1")))
		l.Ready(t, name)
		if out := l.Must(t, "kubectl", "exec", "one", "--", "hostname"); out != "one\n" {
			t.Fatalf("after %s died: exec says %q", step.name, out)
		}
		l.podRanges(t)
	}
	if out := l.Must(t, "up", "--name", l.Name, "--data-dir", l.Dir, "--kubeconfig", l.Kubeconfig); out != "" {
		t.Errorf("up of what is up says %q", out)
	}
	l.Down(t)
	if left := l.left(); left != "" {
		t.Fatalf("after down there is still\n%s", left)
	}
	l.Down(t) // again is no error
}

// reborn waits until a Pod runs in a container other than before.
func (l *lab) reborn(t *testing.T, before *corev1.Pod) (now *corev1.Pod) {
	t.Helper()
	cluster.Eventually(t, before.Name+" in a new container", func() string {
		pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), before.Name, metav1.GetOptions{})
		switch {
		case err != nil:
			return err.Error()
		case pod.UID != before.UID:
			t.Fatalf("%s is another Pod now", pod.Name)
		case !cluster.IsReady(pod) || pod.Status.ContainerStatuses[0].ContainerID == before.Status.ContainerStatuses[0].ContainerID:
			return cluster.Shown(&pod.Status)
		}
		now = pod
		return ""
	})
	return now
}

// podRanges checks that every node has a part of both ranges, and none is given twice.
func (l *lab) podRanges(t *testing.T) {
	t.Helper()
	nodes, err := l.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owner := map[string]string{}
	for _, node := range nodes.Items {
		if len(node.Spec.PodCIDRs) != 2 {
			t.Fatalf("%s has %v", node.Name, node.Spec.PodCIDRs)
		}
		for _, r := range node.Spec.PodCIDRs {
			if owner[r] != "" {
				t.Fatalf("%s and %s both have %s", owner[r], node.Name, r)
			}
			owner[r] = node.Name
		}
	}
}

// left is what there is of a cluster, one line each; nothing after down.
func (l *lab) left() string {
	var out []string
	for pid, args := range cluster.Processes(l.Dir) {
		out = append(out, fmt.Sprintf("process %d %v", pid, args))
	}
	for _, pattern := range []string{"/run/netns/duet-" + l.Name + "-*", "/sys/fs/cgroup/*/duet/" + l.Name, l.Dir} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, l.Dir) || strings.Contains(line, "duet-"+l.Name+"-") {
			out = append(out, "mount "+line)
		}
	}
	if text, _ := os.ReadFile(l.Kubeconfig); strings.Contains(string(text), "duet-"+l.Name) {
		out = append(out, "context in "+l.Kubeconfig)
	}
	return strings.Join(out, "\n")
}
