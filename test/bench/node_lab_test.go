package bench_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	clientset "k8s.io/client-go/kubernetes"

	"github.com/duetk8s/duet/test/cluster"
)

// lab is one of `duet up`, with no way out.
type lab struct {
	*cluster.Lab
	clientset.Interface
}

func newLab(b *testing.B) *lab {
	b.Helper()
	return &lab{Lab: cluster.Named(b)}
}

// up returns how long the command took, and how long until all nodes were seen to be Ready.
func (c *lab) up(b *testing.B, nodes int) (exited, ready time.Duration) {
	b.Helper()
	start := time.Now()
	c.Up(b, "--nodes", strconv.Itoa(nodes))
	exited = time.Since(start)
	c.Interface = connect(b, c.Kubeconfig)
	for c.readyNodes(b) < nodes {
		if time.Since(start) > cluster.Patience {
			b.Fatal("the nodes do not become Ready")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return exited, time.Since(start)
}

func (c *lab) readyNodes(b *testing.B) (n int) {
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

// agent returns the process of a node's agent.
func (c *lab) agent(b *testing.B, node string) process {
	b.Helper()
	pid := c.PID(cluster.Agent, node)
	if pid == 0 {
		b.Fatalf("no agent of %s runs", node)
	}
	return process(pid)
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
func (c *lab) watchPods(b *testing.B) *watcher {
	b.Helper()
	stream, err := connect(b, c.Kubeconfig).CoreV1().Pods("default").Watch(b.Context(), metav1.ListOptions{})
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
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
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
func (c *lab) run(ctx context.Context, w *watcher, p *corev1.Pod) (created time.Time, s seen, err error) {
	created = time.Now()
	if _, err = c.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
		return created, s, err
	}
	s, err = w.await(ctx, p.Name, isReady)
	return created, s, err
}

// remove deletes Pods and waits until they are gone.
func (c *lab) remove(ctx context.Context, w *watcher, names ...string) error {
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
