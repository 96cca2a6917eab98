package bench_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	clientset "k8s.io/client-go/kubernetes"
)

// patience is how long anything in the lab may take before a benchmark gives up.
const patience = 90 * time.Second

// cluster is a lab of `duet up`, with no way out.
type cluster struct {
	program, name, dir string
	clientset.Interface
}

// benchImages are what `make images` has made.
var benchImages = []string{"../../build/images/nginx.tar", "../../build/images/busybox-1.28.tar"}

// newCluster needs root: it is about namespaces and containers. What is left of it goes with b.
func newCluster(b *testing.B) *cluster {
	b.Helper()
	path, err := filepath.Abs(*program)
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range append([]string{path}, benchImages...) {
		if _, err := os.Stat(file); err != nil {
			b.Skipf("%v; run make build images first", err)
		}
	}
	if os.Getuid() != 0 {
		b.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "duet-bench") // sockets in it must have short names: not b.TempDir
	if err != nil {
		b.Fatal(err)
	}
	c := &cluster{program: path, name: "bench" + strconv.Itoa(os.Getpid()), dir: dir}
	b.Cleanup(func() {
		c.down(b)
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return c
}

func (c *cluster) data() string            { return filepath.Join(c.dir, "data") }
func (c *cluster) kubeconfig() string      { return filepath.Join(c.dir, "kubeconfig") }
func (c *cluster) root(node string) string { return filepath.Join(c.data(), "nodes", node) }

// duet runs the program with the flags that say which cluster.
func (c *cluster) duet(b *testing.B, verb []string, args ...string) {
	b.Helper()
	all := slices.Concat(verb, []string{"--name", c.name, "--data-dir", c.data()}, args)
	if out, err := exec.Command(c.program, all...).CombinedOutput(); err != nil {
		b.Fatalf("duet %s: %v: %s", strings.Join(all, " "), err, out)
	}
}

// up returns how long the command took, and how long until all nodes were seen to be Ready.
func (c *cluster) up(b *testing.B, nodes int) (exited, ready time.Duration) {
	b.Helper()
	start := time.Now()
	c.duet(b, []string{"up"}, "--nodes", strconv.Itoa(nodes), "--uplink=false", "--kubeconfig", c.kubeconfig())
	exited = time.Since(start)
	c.Interface = connect(b, c.kubeconfig())
	for c.readyNodes(b) < nodes {
		if time.Since(start) > patience {
			b.Fatal("the nodes do not become Ready")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return exited, time.Since(start)
}

func (c *cluster) readyNodes(b *testing.B) (n int) {
	b.Helper()
	nodes, err := c.CoreV1().Nodes().List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				n++
			}
		}
	}
	return n
}

func (c *cluster) down(b *testing.B) {
	b.Helper()
	if out, err := exec.Command(c.program, "down", "--name", c.name, "--data-dir", c.data()).CombinedOutput(); err != nil {
		b.Errorf("duet down: %v: %s", err, out)
	}
}

// loadImages into the cluster; nodes pull them from there.
func (c *cluster) loadImages(b *testing.B) {
	b.Helper()
	c.duet(b, []string{"image", "load"}, benchImages...)
}

// agent returns the process of a node's agent.
func (c *cluster) agent(b *testing.B, node string) process {
	b.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	for _, dir := range dirs {
		data, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // it may have ended
		argv := strings.Split(string(data), "\x00")
		if len(argv) > 1 && argv[1] == "node" && slices.Contains(argv, "--root-dir="+c.root(node)) {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				b.Fatal(err)
			}
			return process(pid)
		}
	}
	b.Fatalf("no agent of %s runs", node)
	return 0
}

// seen is when a watcher of Pods saw what.
type seen struct{ bound, ready, gone time.Time }

// watcher keeps what it sees of the Pods in namespace default, by name.
type watcher struct {
	mu   sync.Mutex
	pods map[string]seen
	news chan struct{} // closed and made anew with each change
}

// watchPods watches as a user does, until b ends.
func (c *cluster) watchPods(b *testing.B) *watcher {
	b.Helper()
	stream, err := connect(b, c.kubeconfig()).CoreV1().Pods("default").Watch(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	w := &watcher{pods: map[string]seen{}, news: make(chan struct{})}
	var done sync.WaitGroup
	done.Go(func() {
		for event := range stream.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				w.note(pod, event.Type == watch.Deleted, time.Now())
			}
		}
	})
	b.Cleanup(func() { stream.Stop(); done.Wait() })
	return w
}

func (w *watcher) note(pod *corev1.Pod, gone bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.pods[pod.Name]
	if s.bound.IsZero() && pod.Spec.NodeName != "" {
		s.bound = now
	}
	for _, condition := range pod.Status.Conditions {
		if s.ready.IsZero() && condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			s.ready = now
		}
	}
	if gone {
		s.gone = now
	}
	w.pods[pod.Name] = s
	close(w.news)
	w.news = make(chan struct{})
}

// await waits until what was seen of a Pod is enough.
func (w *watcher) await(ctx context.Context, name string, enough func(seen) bool) (seen, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		w.mu.Lock()
		s, news := w.pods[name], w.news
		w.mu.Unlock()
		if enough(s) {
			return s, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return s, fmt.Errorf("pod %s: %w, seen %+v", name, ctx.Err(), s)
		}
	}
}

func isReady(s seen) bool { return !s.ready.IsZero() }
func isGone(s seen) bool  { return !s.gone.IsZero() }

// pod that runs nginx, whose image is on the node after the first time.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "nginx", ImagePullPolicy: corev1.PullIfNotPresent,
		}}},
	}
}

// run creates a Pod and waits until the watcher sees it Ready.
func (c *cluster) run(ctx context.Context, w *watcher, p *corev1.Pod) (created time.Time, s seen, err error) {
	created = time.Now()
	if _, err = c.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
		return created, s, err
	}
	s, err = w.await(ctx, p.Name, isReady)
	return created, s, err
}

// remove deletes Pods and waits until they are gone.
func (c *cluster) remove(ctx context.Context, w *watcher, names ...string) error {
	for _, name := range names {
		if err := c.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(1))}); err != nil {
			return err
		}
	}
	for _, name := range names {
		if _, err := w.await(ctx, name, isGone); err != nil {
			return err
		}
	}
	return nil
}

// atOnce calls do for each name in a goroutine of its own and returns their errors.
func atOnce(names []string, do func(i int, name string) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(names))
	for i, name := range names {
		all.Go(func() { errs[i] = do(i, name) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func numberedNames(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = prefix + "-" + strconv.Itoa(i)
	}
	return names
}
