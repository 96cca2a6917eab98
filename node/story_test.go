package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/test/eventually"
)

// forever is a container that ends well when asked to.
const forever = `trap "exit 0" TERM; sleep 1000 & wait`

func waiting(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reason
	}
}

func TestRestarts(t *testing.T) {
	l := newLab(t)
	l.run("crash", "echo again; exit 1", nil)
	pod := l.until("crash", "in back-off", waiting("CrashLoopBackOff"))
	s := pod.Status.ContainerStatuses[0]
	if want := "back-off 10s restarting failed container=c pod=crash_default(uid-crash)"; s.State.Waiting.Message != want || s.RestartCount != 1 ||
		s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 1 || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("%s", shown(pod))
	}
	l.saw("Warning BackOff Back-off restarting failed container c in pod crash_default(uid-crash)")
	l.run("edit", `echo "192.0.2.9 edited" >>/etc/hosts; sleep 0.2; if [ -e /data/once ]; then sleep 1000; fi; echo 1 >/data/once`, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	})
	l.until("edit", "restarted", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	l.saw("Warning HostsFileOverwritten")
	l.run("noexec", "", func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"/bin/missing"} })
	pod = l.until("noexec", "failing to run", waiting("RunContainerError"))
	if s := pod.Status.ContainerStatuses[0]; !strings.Contains(s.State.Waiting.Message, "no such file") || s.LastTerminationState.Terminated.Reason != "StartError" {
		t.Errorf("%s", shown(pod))
	}
	l.run("noimage", "", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "localhost:1/absent:1" })
	l.until("noimage", "failing to pull", waiting("ErrImagePull"))
	l.saw(`Normal Pulling Pulling image "localhost:1/absent:1"`)
	pod = l.until("noimage", "in back-off", waiting("ImagePullBackOff"))
	if !strings.HasPrefix(pod.Status.ContainerStatuses[0].State.Waiting.Message, `Back-off pulling image "localhost:1/absent:1": ErrImagePull: rpc error: `) {
		t.Errorf("%s", shown(pod))
	}
	l.run("never", "", func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "absent:1", corev1.PullNever
	})
	l.until("never", "refused", waiting("ErrImageNeverPull"))
	for _, name := range []string{"crash", "edit", "noexec", "noimage", "never"} {
		l.mark(name, 1)
	}
	for _, name := range []string{"crash", "edit", "noexec", "noimage", "never"} {
		l.until(name, "gone", gone)
	}
	l.empty()
}

func TestConfigErrorsHeal(t *testing.T) {
	l := newLab(t)
	l.run("env", forever, func(p *corev1.Pod) {
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "late"}}}}
	})
	l.run("vol", forever, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "late"}}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	})
	l.until("env", "refused", waiting("CreateContainerConfigError"))
	l.saw(`Warning FailedMount MountVolume.SetUp failed for volume "v" : configmap`)
	if _, err := l.client.CoreV1().ConfigMaps("default").Create(l.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "late", Namespace: "default"}, Data: map[string]string{"K": "1"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.until("env", "ready", ready)
	l.until("vol", "ready", ready)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("healed only after %v", took)
	}
	if _, err := l.client.CoreV1().ConfigMaps("default").Update(l.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "late", Namespace: "default"}, Data: map[string]string{"K": "2"},
	}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(l.box.dir, "kubelet/pods/uid-vol/volumes/kubernetes.io~configmap/v/K")
	eventually.Is(t, 20*time.Second, "the ConfigMap in the volume", func() string { data, _ := os.ReadFile(file); return string(data) }, "2")
}

func TestInitAndSidecar(t *testing.T) {
	l := newLab(t)
	always := corev1.ContainerRestartPolicyAlways
	l.run("order", "cat /data/init /data/side; sleep 0.3; cat /data/start", func(p *corev1.Pod) {
		mount := []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		container := func(name, script string) corev1.Container {
			return corev1.Container{Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sh", "-c", script}, VolumeMounts: mount}
		}
		side := container("side", "sleep 0.3; echo side >/data/side; "+forever)
		side.RestartPolicy = &always
		side.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/cat", "/data/side"}}}, PeriodSeconds: 1, FailureThreshold: 30, SuccessThreshold: 1, TimeoutSeconds: 1}
		p.Spec.InitContainers = []corev1.Container{container("init", "echo init >/data/init"), side}
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = mount
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "echo start >/data/start"}}}}
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
	})
	pod := l.until("order", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if got := l.log(pod, 0); got != "init\nside\nstart\n" {
		t.Errorf("log: %q", got)
	}
	if s := pod.Status.InitContainerStatuses; len(s) != 2 || s[0].State.Terminated == nil || !s[0].Ready || s[1].State.Terminated == nil {
		t.Errorf("%s", shown(pod))
	}
}

func TestProbes(t *testing.T) {
	l := newLab(t)
	probe := func(file string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/cat", file}}}, PeriodSeconds: 1, FailureThreshold: 1, SuccessThreshold: 1, TimeoutSeconds: 20}
	}
	l.run("sick", `echo 1 >/tmp/alive; sleep 0.5; echo 1 >/tmp/ready; `+forever, func(p *corev1.Pod) {
		p.Spec.Containers[0].LivenessProbe, p.Spec.Containers[0].ReadinessProbe = probe("/tmp/alive"), probe("/tmp/ready")
	})
	pod := l.until("sick", "started", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	if ready(pod) {
		t.Error("ready before its probe has said so")
	}
	l.saw("Warning Unhealthy Readiness probe failed")
	l.until("sick", "ready", ready)
	l.exec("sick", "rm /tmp/ready")
	l.until("sick", "unready", func(p *corev1.Pod) bool { return !ready(p) })
	l.exec("sick", "echo 1 >/tmp/ready")
	l.until("sick", "ready", ready)
	l.exec("sick", "rm /tmp/alive")
	l.saw("Warning Unhealthy Liveness probe failed")
	l.saw("Normal Killing Container c failed liveness probe, will be restarted")
	pod = l.until("sick", "restarted", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "Completed" {
		t.Errorf("%s", shown(pod))
	}
}

// exec runs a script in a Pod's container and gives what it wrote.
func (l *lab) exec(name, script string) string {
	l.Helper()
	_, id, _ := strings.Cut(l.get(name).Status.ContainerStatuses[0].ContainerID, "://")
	stdout, stderr, code, err := l.box.dial(l.T).ExecSync(l.Context(), id, []string{"/bin/sh", "-c", script}, 0)
	if err != nil || code != 0 {
		l.Fatal(code, string(stderr), err)
	}
	return string(stdout)
}

// TestReboot: what ran is gone, the runtime remembers it. The API, which takes the Pods for ready, is told
// that they are not before it is told anything else: their addresses may become others'.
func TestReboot(t *testing.T) {
	l := newLab(t)
	l.run("up", forever, func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/true"}}}
	})
	l.run("once", forever, func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	l.run("forgotten", forever, nil)
	for _, name := range []string{"up", "once", "forgotten"} {
		l.until(name, "ready", ready)
	}
	l.stopAgent()
	_, sandbox := l.sandboxOf("forgotten")
	l.box.kill(t)
	l.box.killShims(t)
	l.box.start(t)
	rt := l.box.dial(t)
	if err := rt.StopSandbox(t.Context(), sandbox); err != nil {
		t.Fatal(err)
	}
	if err := rt.RemoveSandbox(t.Context(), sandbox); err != nil {
		t.Fatal(err)
	}
	said, err := l.client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.startAgent()
	l.until("once", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	for _, name := range []string{"up", "forgotten"} {
		pod := l.until(name, "restarted", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
		if last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode == 0 {
			t.Errorf("%s", shown(pod))
		}
		t.Logf("%s: %+v", name, pod.Status.ContainerStatuses[0].LastTerminationState.Terminated)
	}
	said.Stop()
	for e := range said.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		if ok && e.Type == watch.Modified && ready(pod) && pod.Status.ContainerStatuses[0].RestartCount == 0 {
			t.Errorf("said to be ready after its end: %s at %v", pod.Name, pod.Status.PodIPs)
		}
	}
	for _, name := range []string{"up", "once", "forgotten"} {
		l.mark(name, 2)
	}
	for _, name := range []string{"up", "once", "forgotten"} {
		l.until(name, "gone", gone)
	}
	l.empty()
}

func (l *lab) sandboxOf(name string) (rt *cri.Runtime, id string) {
	l.Helper()
	rt = l.box.dial(l.T)
	all, err := rt.ListSandboxes(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	for _, s := range all {
		if s.GetMetadata().GetName() == name {
			return rt, s.GetId()
		}
	}
	l.Fatalf("no sandbox of %s", name)
	return nil, ""
}

// kill has the first process of a container or sandbox killed, as nobody should.
func (l *lab) kill(id string) {
	l.Helper()
	if out, err := exec.Command("ctr", "-a", l.box.socket, "-n", "k8s.io", "task", "kill", "-s", "KILL", id).CombinedOutput(); err != nil {
		l.Fatalf("%v: %s", err, out)
	}
}

// TestSandboxDies: its Pod gets another, with other addresses, and all containers anew.
func TestSandboxDies(t *testing.T) {
	l := newLab(t)
	l.run("p", forever, nil)
	l.until("p", "ready", ready)
	_, id := l.sandboxOf("p")
	l.kill(id)
	pod := l.until("p", "up again", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	l.saw("Normal SandboxChanged Pod sandbox changed, it will be killed and re-created.")
	if got, want := l.exec("p", "cat /etc/hosts"), pod.Status.PodIPs[0].IP+"\tp\n"+pod.Status.PodIPs[1].IP+"\tp\n"; !strings.HasSuffix(got, want) {
		t.Errorf("hosts file %q, want at its end %q", got, want)
	}
	l.mark("p", 2)
	l.until("p", "gone", gone)
	l.empty()
}

func TestAgentAndRuntimeRestart(t *testing.T) {
	l := newLab(t)
	l.run("stays", forever, nil)
	l.run("orphan", forever, nil)
	before := l.until("stays", "ready", ready)
	l.until("orphan", "ready", ready)
	l.stopAgent()
	if err := l.client.CoreV1().Pods("default").Delete(t.Context(), "orphan", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.startAgent()
	rt := l.box.dial(t)
	eventually.Is(t, 10*time.Second, "sandboxes without the orphan", func() int {
		all, err := rt.ListSandboxes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}, 1)
	same := func(what string) {
		t.Helper()
		after := l.until("stays", "ready", ready)
		if a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]; a.ContainerID != b.ContainerID || b.RestartCount != 0 || !ready(after) {
			t.Errorf("%s: %s", what, shown(after))
		}
		if after.ResourceVersion != before.ResourceVersion {
			t.Errorf("%s: the status was written", what)
		}
	}
	time.Sleep(300 * time.Millisecond)
	same("after the agent's restart")
	l.box.kill(t)
	time.Sleep(200 * time.Millisecond)
	l.box.start(t)
	l.box.dial(t)
	time.Sleep(500 * time.Millisecond)
	same("after the runtime's restart")
	// What ended meanwhile is seen.
	l.run("next", "exit 0", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	l.until("next", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	l.run("short", "sleep 1", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	l.until("short", "ready", ready)
	l.box.kill(t)
	time.Sleep(1200 * time.Millisecond)
	l.box.start(t)
	pod := l.until("short", "ended", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].State.Terminated != nil })
	t.Logf("ended while the runtime was away: %+v", pod.Status.ContainerStatuses[0].State.Terminated)
	for _, name := range []string{"stays", "next", "short"} {
		l.mark(name, 2)
	}
	for _, name := range []string{"stays", "next", "short"} {
		l.until(name, "gone", gone)
	}
	l.empty()
}

// TestManyPods come and go at once and leave nothing: no address, namespace, mount or veth.
func TestManyPods(t *testing.T) {
	l := newLab(t)
	const many = 20
	name := func(i int) string { return fmt.Sprintf("many%d", i) }
	for i := range many {
		l.run(name(i), forever, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "m", MountPath: "/m"}}
		})
	}
	seen := map[string]bool{}
	for i := range many {
		for _, ip := range l.until(name(i), "ready", ready).Status.PodIPs {
			if seen[ip.IP] {
				t.Errorf("%s twice", ip.IP)
			}
			seen[ip.IP] = true
		}
	}
	for i := range many {
		l.mark(name(i), 5)
	}
	for i := range many {
		l.until(name(i), "gone", gone)
	}
	l.empty()
	taken, err := filepath.Glob(filepath.Join(l.box.dir, "ipam/box/[0-9f]*"))
	if err != nil || len(taken) > 0 {
		t.Errorf("addresses are still taken: %v %v", taken, err)
	}
	if mounts, _ := os.ReadFile("/proc/mounts"); strings.Contains(string(mounts), l.box.dir) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	if links, _ := exec.Command("ip", "-o", "link", "show", "type", "veth").Output(); len(links) > 0 {
		t.Errorf("links are left:\n%s", links)
	}
}
