package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestOOMCounts on both versions of cgroups, while a container's cgroup is there and when it is gone.
func TestOOMCounts(t *testing.T) {
	for version, file := range map[string]string{
		"v1": "sys/fs/cgroup/memory/n/podu/%s/memory.oom_control", "v2": "sys/fs/cgroup/n/podu/%s/memory.events",
	} {
		t.Run(version, func(t *testing.T) {
			root := t.TempDir()
			write := func(name, text string) {
				t.Helper()
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			machine := func(n int) { write("proc/vmstat", fmt.Sprintf("pgfault 12\noom_kill %d\n", n)) }
			counts := newOOMCounts("n")
			counts.root = root
			expect := func(container string, code int32, want bool) {
				t.Helper()
				if got := counts.killed("u", container, code); got != want {
					t.Errorf("%s: killed %t, want %t", container, got, want)
				}
			}
			machine(7)
			counts.begin()
			write(fmt.Sprintf(file, "well"), "oom 1\noom_kill 0\n")
			write(fmt.Sprintf(file, "fat"), "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
			expect("well", 0, false)
			expect("well", 137, false)
			expect("gone", 137, false) // nothing was killed since the beginning
			machine(10)
			expect("fat", 137, true)
			expect("gone", 1, false)
			expect("gone", 137, true)      // the third kill can only be its
			expect("gone too", 137, false) // all are explained
			machine(11)
			counts.begin()
			expect("gone again", 137, false)
		})
	}
}

// TestOOM: the reason is there even of containers that do not live long enough for the runtime to
// begin watching them, and not of others.
func TestOOM(t *testing.T) {
	l := newLab(t)
	const many = 20
	name := func(i int) string { return fmt.Sprintf("fat%d", i) }
	for i := range many {
		l.run(name(i), `x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done`, func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Mi")}
		})
	}
	l.run("shot", forever, func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	failed := func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed }
	for i := range many {
		l.until(name(i), "killed for its memory", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return failed(p) && s[0].State.Terminated.Reason == "OOMKilled" && s[0].State.Terminated.ExitCode == 137
		})
	}
	_, id, _ := strings.Cut(l.until("shot", "ready", ready).Status.ContainerStatuses[0].ContainerID, "://")
	l.kill(id)
	if s := l.until("shot", "failed", failed).Status.ContainerStatuses[0].State.Terminated; s.Reason != "Error" || s.ExitCode != 137 {
		t.Errorf("%+v", s)
	}
}
