package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/node/internal/probes"
	"github.com/duetk8s/duet/node/internal/volumes"
	"github.com/duetk8s/duet/test/eventually"
)

// lab is an agent's pods over a real runtime and a pretended API.
type lab struct {
	*testing.T
	box    *box
	client *fake.Clientset
	stop   context.CancelFunc
	done   chan struct{}
	pods   *pods
	node   atomic.Pointer[corev1.Node]

	mu     sync.Mutex
	events []string
}

type noPorts struct{}

func (noPorts) SetHostPorts([]hostnet.HostPort) {}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{T: t, box: newBox(t), client: fake.NewClientset()}
	l.node.Store(&corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"pods": resource.MustParse("110"), "cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")}}})
	l.startAgent()
	t.Cleanup(func() { l.stopAgent() })
	return l
}

// startAgent begins a new life of the agent.
func (l *lab) startAgent() {
	l.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.done = stop, make(chan struct{})
	cfg := (&Config{Name: "node", RootDir: l.box.dir, CgroupParent: l.box.cgroup()}).withDefaults()
	hostIPs := func() []netip.Addr { return hostAddrs }
	node := func() *corev1.Node { return l.node.Load() }
	src := newSources(ctx, l.client)
	rt := l.box.dial(l.T)
	p := &parts{
		runtime: rt,
		content: &podContent{
			cfg: cfg, sources: src, node: node, hostIPs: hostIPs, held: map[types.UID]*held{},
			volumes:  volumes.New(volumes.Config{Root: cfg.kubelet(), Sources: src, Node: node, Clock: clock.RealClock{}}),
			services: func(context.Context, string) ([]*corev1.Service, error) { return nil, nil },
		},
		prober: podProber{probes.New(probes.Config{Exec: execIn(rt), Clock: clock.RealClock{}})},
		api:    l.client.CoreV1(), secrets: src.Secret, events: l.recorder(ctx), clock: clock.RealClock{}, hostIPs: hostIPs, admission: newAdmission(node, node), memory: newOOMCounts(cfg.CgroupParent), owner: newOwners(),
	}
	l.pods = newPods(p, l.source(), src, noPorts{}, func() {})
	go func() {
		defer close(l.done)
		_ = l.pods.Run(ctx)
		src.wait()
	}()
}

func (l *lab) recorder(ctx context.Context) record.EventRecorder {
	r := record.NewFakeRecorder(1000)
	go func() {
		for {
			select {
			case e := <-r.Events:
				l.mu.Lock()
				l.events = append(l.events, e)
				l.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	}()
	return r
}

func (l *lab) source() cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return l.client.CoreV1().Pods("").List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return l.client.CoreV1().Pods("").Watch(ctx, o)
		},
	}, l.client)
}

func (l *lab) stopAgent() {
	l.stop()
	<-l.done
}

// run creates a Pod; change may alter it before.
func (l *lab) run(name, script string, change func(*corev1.Pod)) {
	l.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name), Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: "node", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(2)),
			Containers: []corev1.Container{{Name: "c", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sh", "-c", script}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort},
	}
	if change != nil {
		change(pod)
	}
	if _, err := l.client.CoreV1().Pods("default").Create(l.Context(), pod, metav1.CreateOptions{}); err != nil {
		l.Fatal(err)
	}
}

// mark asks for a Pod's deletion as the API does.
func (l *lab) mark(name string, grace int64) {
	l.Helper()
	pod := l.get(name)
	pod.DeletionTimestamp = &metav1.Time{Time: time.Now().Add(time.Duration(grace) * time.Second)}
	pod.DeletionGracePeriodSeconds = &grace
	if _, err := l.client.CoreV1().Pods("default").Update(l.Context(), pod, metav1.UpdateOptions{}); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) get(name string) *corev1.Pod {
	l.Helper()
	pod, err := l.client.CoreV1().Pods("default").Get(l.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return pod
}

// until waits for a Pod to be as it should.
func (l *lab) until(name, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	l.Helper()
	var pod *corev1.Pod
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if pod = l.get(name); is(pod) {
			return pod
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Fatalf("pod %s: not %s: %s\n%s", name, what, shown(pod), strings.Join(l.events, "\n"))
	return nil
}

func (l *lab) saw(event string) {
	l.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		all := strings.Join(l.events, "\n")
		l.mu.Unlock()
		if strings.Contains(all, event) {
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Errorf("no event %q in\n%s", event, strings.Join(l.events, "\n"))
}

func shown(pod *corev1.Pod) string {
	if pod == nil {
		return "gone"
	}
	return fmt.Sprintf("%+v", pod.Status)
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func gone(pod *corev1.Pod) bool { return pod == nil }

// log is what a container has written, without the runtime's columns.
func (l *lab) log(pod *corev1.Pod, attempt int) string {
	l.Helper()
	data, err := os.ReadFile(filepath.Join(l.box.dir, "kubelet/logs/pods", "default_"+pod.Name+"_"+string(pod.UID), "c", fmt.Sprintf("%d.log", attempt)))
	if err != nil {
		l.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		out.WriteString(written(line))
	}
	return out.String()
}

// empty fails when the runtime has anything left.
func (l *lab) empty() {
	l.Helper()
	rt := l.box.dial(l.T)
	ctx := l.Context()
	sandboxes, err := rt.ListSandboxes(ctx)
	if err != nil {
		l.Fatal(err)
	}
	containers, err := rt.ListContainers(ctx)
	if err != nil {
		l.Fatal(err)
	}
	if len(sandboxes)+len(containers) > 0 {
		l.Errorf("left: %v %v", sandboxes, containers)
	}
	for _, dir := range []string{"kubelet/pods", "kubelet/logs/pods"} {
		entries, _ := os.ReadDir(filepath.Join(l.box.dir, dir))
		if len(entries) > 0 {
			l.Errorf("left in %s: %v", dir, entries)
		}
	}
	if found, _ := filepath.Glob("/sys/fs/cgroup/*" + l.box.cgroup() + "/pod*"); len(found) > 0 {
		l.Errorf("left: %v", found)
	}
}

var _ containerRuntime = (*cri.Runtime)(nil)

func TestLifeOfAPod(t *testing.T) {
	l := newLab(t)
	began := time.Now()
	l.run("web", `echo hello; cat /etc/hosts; trap "exit 0" TERM; sleep 1000 & wait`, nil)
	pod := l.until("web", "ready", ready)
	t.Logf("created to ready: %v", time.Since(began))
	if got := pod.Status.Phase; got != corev1.PodRunning {
		t.Errorf("phase %s", got)
	}
	if n := len(pod.Status.PodIPs); n != 2 || !strings.HasPrefix(pod.Status.PodIP, "10.200.0.") || len(pod.Status.HostIPs) != 2 {
		t.Errorf("addresses: %+v %+v", pod.Status.PodIPs, pod.Status.HostIPs)
	}
	want := "hello\n# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n" +
		pod.Status.PodIPs[0].IP + "\tweb\n" + pod.Status.PodIPs[1].IP + "\tweb\n"
	eventually.Is(t, 2*time.Second, "the log", func() string { return l.log(pod, 0) }, want)
	began = time.Now()
	l.mark("web", 2)
	l.until("web", "gone", gone)
	t.Logf("deleted to gone: %v", time.Since(began))
	for _, e := range []string{"Normal Pulled", "Normal Created Container created", "Normal Started Container started", "Normal Killing Stopping container c"} {
		l.saw(e)
	}
	l.empty()
}

func TestCompleted(t *testing.T) {
	l := newLab(t)
	l.run("job", "echo done", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	l.run("bad", "echo words >/dev/termination-log; exit 3", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
	})
	pod := l.until("job", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if s := pod.Status.ContainerStatuses[0].State.Terminated; s == nil || s.Reason != "Completed" || len(pod.Status.PodIPs) != 2 {
		t.Errorf("%s", shown(pod))
	}
	pod = l.until("bad", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if s := pod.Status.ContainerStatuses[0].State.Terminated; s == nil || s.Reason != "Error" || s.ExitCode != 3 || s.Message != "words\n" {
		t.Errorf("%s", shown(pod))
	}
	l.mark("job", 30)
	l.mark("bad", 30)
	l.until("job", "gone", gone)
	l.until("bad", "gone", gone)
	l.empty()
}
