package nodes

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/duetk8s/duet/test/cluster"
)

// probed makes a Pod ready while it has the file /ready, asked every second.
func probed(p *corev1.Pod) {
	p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/ready"}}},
		PeriodSeconds: 1, FailureThreshold: 1,
	}
}

// alive restarts a Pod when it no longer answers on a port, asked every second.
func alive(p *corev1.Pod) {
	p.Spec.Containers[0].LivenessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}},
		PeriodSeconds: 1, FailureThreshold: 2,
	}
}

// identities says which containers and which sandbox, by the addresses, a Pod lives in, and how
// often they were restarted.
func identities(pods []*corev1.Pod) string {
	var out []string
	for _, pod := range pods {
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			out = append(out, fmt.Sprintf("%s/%s %s restarted %d, ready %t, at %v", pod.Name, c.Name, c.ContainerID, c.RestartCount, c.Ready, pod.Status.PodIPs))
		}
	}
	return strings.Join(out, "\n")
}

// standing are Pods that outlive what is killed around them.
func standing(t *testing.T, l *lab) []*corev1.Pod {
	t.Helper()
	always := corev1.ContainerRestartPolicyAlways
	l.Create(t,
		cluster.Busybox("plain", cluster.Forever),
		cluster.Busybox("asked", "touch /ready; "+cluster.Forever, probed),
		cluster.Busybox("side", cluster.Forever, func(p *corev1.Pod) {
			side := *p.Spec.Containers[0].DeepCopy()
			side.Name, side.RestartPolicy = "side", &always
			first := *p.Spec.Containers[0].DeepCopy()
			first.Name, first.Command = "first", []string{"true"}
			p.Spec.InitContainers = []corev1.Container{first, side}
		}),
		cluster.Busybox("web", "mkdir /www; httpd -f -p 80 -h /www & "+cluster.Forever, alive),
		cluster.Busybox("over", "exit 0", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }),
	)
	cluster.Eventually(t, "the end of over", func() string { return l.phase(t, "over", corev1.PodSucceeded) })
	return l.Ready(t, "plain", "asked", "side", "web")
}

func (l *lab) phase(t *testing.T, name string, want corev1.PodPhase) string {
	t.Helper()
	pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	if pod.Status.Phase != want {
		return cluster.Shown(&pod.Status)
	}
	return ""
}

// probesGoOn sees a Pod lose its readiness and get it back.
func (l *lab) probesGoOn(t *testing.T) {
	t.Helper()
	for _, step := range []struct {
		command string
		ready   bool
	}{{"rm /ready", false}, {"touch /ready", true}} {
		cluster.Eventually(t, "exec", func() string {
			if out, err := l.Run("kubectl", "exec", "asked", "--", "sh", "-c", step.command+"; true"); err != nil {
				return out
			}
			return ""
		})
		cluster.Eventually(t, fmt.Sprintf("a probe after %q", step.command), func() string {
			pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), "asked", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			if cluster.IsReady(pod) != step.ready {
				return cluster.Shown(&pod.Status)
			}
			return ""
		})
	}
}

// unchanged checks that Pods live where they lived, and stay so.
func (l *lab) unchanged(t *testing.T, before []*corev1.Pod) {
	t.Helper()
	var names []string
	for _, pod := range before {
		names = append(names, pod.Name)
	}
	if got, want := identities(l.Ready(t, names...)), identities(before); got != want {
		t.Fatalf("now\n%s\nbefore\n%s", got, want)
	}
	if problem := l.phase(t, "over", corev1.PodSucceeded); problem != "" {
		t.Fatal(problem)
	}
}

// back waits until another process plays the part of the one that was killed, and does its work: a
// new Pod starts.
func (l *lab) back(t *testing.T, what cluster.Part, name string) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("a new %s", what), func() string {
		if l.PID(what, "worker0") == 0 {
			return "none"
		}
		return ""
	})
	l.Create(t, cluster.Busybox(name, cluster.Forever))
	l.Ready(t, name)
}

func TestAgentKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--nodes", "1")
	before := standing(t, l)
	l.Create(t, cluster.Busybox("leaving", `trap "" TERM; touch /deaf; sleep 1000 & wait; wait`, func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(4)) }))
	l.Ready(t, "leaving")
	if err := l.Client.CoreV1().Pods("default").Delete(t.Context(), "leaving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // it is being stopped
	l.Kill(t, cluster.Agent, "worker0")
	l.back(t, cluster.Agent, "after1")
	l.unchanged(t, before)
	l.probesGoOn(t)
	cluster.Eventually(t, "the end of leaving", func() string { return l.exists(t, "leaving") })

	// What happened while no agent was there is seen by the next: an exit, a deletion, a new Pod.
	for range 3 { // let the box wait before it starts the next one
		l.Kill(t, cluster.Agent, "worker0")
		cluster.Eventually(t, "a new agent", func() string {
			if l.PID(cluster.Agent, "worker0") == 0 {
				return "none"
			}
			return ""
		})
	}
	l.Kill(t, cluster.Agent, "worker0")
	l.killInside(t, before[0])
	for _, name := range []string{"side", "after1"} {
		if err := l.Client.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	l.back(t, cluster.Agent, "after2")
	for _, name := range []string{"side", "after1"} {
		cluster.Eventually(t, "the end of "+name, func() string { return l.exists(t, name) })
	}
	cluster.Eventually(t, "the restart of plain", func() string {
		pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), "plain", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if s := pod.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount != 1 || !s[0].Ready ||
			s[0].LastTerminationState.Terminated == nil || s[0].LastTerminationState.Terminated.ExitCode != 137 {
			return cluster.Shown(&pod.Status)
		}
		return ""
	})
	l.unchanged(t, []*corev1.Pod{before[1], before[3]})
}

func TestContainerdKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--nodes", "1")
	before := standing(t, l)
	l.Kill(t, cluster.Containerd, "worker0")
	l.back(t, cluster.Containerd, "after1")
	l.unchanged(t, before)
	l.probesGoOn(t)

	// An exit that containerd has not seen is a restart as any other.
	l.Kill(t, cluster.Containerd, "worker0")
	l.killInside(t, before[0])
	l.back(t, cluster.Containerd, "after2")
	cluster.Eventually(t, "the restart of plain", func() string {
		pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), "plain", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if s := pod.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount != 1 || !s[0].Ready {
			return cluster.Shown(&pod.Status)
		}
		return ""
	})
	l.unchanged(t, before[1:])
	out := l.Must(t, "kubectl", "exec", "plain", "--", "cat", "/etc/hosts")
	if !strings.Contains(out, "\tplain\n") {
		t.Errorf("the hosts file of plain is\n%s", out)
	}
}

// killInside ends the processes of a Pod's container, found by their cgroup.
func (l *lab) killInside(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	for _, pid := range l.Inside(t, pod) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with the one before
	}
	cluster.Eventually(t, "the end of the container of "+pod.Name, func() string {
		if left := l.Inside(t, pod); len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
}

// exists says whether a Pod still is.
func (l *lab) exists(t *testing.T, name string) string {
	t.Helper()
	pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return ""
	case err != nil:
		return err.Error()
	}
	return cluster.Shown(&pod.Status)
}
