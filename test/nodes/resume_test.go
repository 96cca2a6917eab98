package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
	ranges := l.podRanges(t)

	for _, step := range []struct {
		name    string
		kill    func()
		reborn  []string // Pods whose node died: the same objects in new containers
		started bool     // whether only new containers tell that the node is back
	}{
		{"server", func() { l.Kill(t, cluster.Server, "") }, nil, false},
		{"box", func() { l.Kill(t, cluster.Box, "worker1") }, []string{"one"}, true},
		{"everything", func() { l.killAll(t) }, []string{"zero", "one"}, true},
		{"the machine", func() { l.crash(t) }, []string{"zero", "one"}, true},
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
		name := "after-" + strings.ReplaceAll(step.name, " ", "-")
		l.Create(t, cluster.Busybox(name, cluster.Forever, cluster.On("worker1")))
		l.Ready(t, name)
		if out := l.Must(t, "kubectl", "exec", "one", "--", "hostname"); out != "one\n" {
			t.Fatalf("after %s died: exec says %q", step.name, out)
		}
		if now := l.podRanges(t); now != ranges {
			t.Fatalf("after %s died: the nodes have\n%s\nand had\n%s", step.name, now, ranges)
		}
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

// reborn waits until a Pod runs in a container other than before. Its addresses are others too: for a
// while somebody may think of the old ones as the Pod's.
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
	for _, ip := range now.Status.PodIPs {
		if slices.Contains(before.Status.PodIPs, ip) {
			t.Errorf("%s was given %s again", now.Name, ip.IP)
		}
	}
	return now
}

// killAll ends every process of the lab at once.
func (l *lab) killAll(t *testing.T) {
	t.Helper()
	l.Kill(t, cluster.Server, "")
	l.Kill(t, cluster.Box, "worker0")
	l.Kill(t, cluster.Box, "worker1")
}

// crash leaves what a reboot leaves of the lab: its files. Processes, network namespaces with all
// that is in them, mounts and cgroups are gone.
func (l *lab) crash(t *testing.T) {
	t.Helper()
	l.killAll(t)
	names, _ := filepath.Glob("/run/netns/duet-" + l.Name + "-*")
	if len(names) != 4 {
		t.Fatalf("namespaces before the crash: %q", names)
	}
	for _, name := range names {
		if err := errors.Join(unix.Unmount(name, unix.MNT_DETACH), os.Remove(name)); err != nil {
			t.Fatal(err)
		}
	}
	var groups []string
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/duet/" + l.Name)
	for _, top := range tops {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
	}
	if len(groups) == 0 {
		t.Fatal("there were no cgroups")
	}
	for _, group := range slices.Backward(groups) { // the deepest first
		cluster.Eventually(t, "the end of "+group, func() string {
			if err := os.Remove(group); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	if left := l.left(); strings.TrimPrefix(left, l.Dir+"\n") != "context in "+l.Kubeconfig && left != l.Dir {
		t.Fatalf("the crash has left\n%s", left)
	}
}

// podRanges checks that every node has a part of both ranges, and none is given twice; it returns
// who has which.
func (l *lab) podRanges(t *testing.T) string {
	t.Helper()
	nodes, err := l.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	owner := map[string]string{}
	for _, node := range nodes.Items {
		all = append(all, fmt.Sprint(node.Name, node.Spec.PodCIDRs))
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
	return strings.Join(all, "\n")
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
