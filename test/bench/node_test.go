package bench_test

import (
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/test/cluster"
)

// These counts do not depend on b.N: an operation is the whole measurement (make bench says
// -benchtime 1x).
const (
	ups       = 3
	alone     = 20
	together  = 30
	rounds    = 1
	kubectls  = 5
	idlePods  = 50
	nodeIdle  = 25 * time.Second // memory is given back until then
	nodeCount = 15 * time.Second
)

// once says that what was measured are the metrics, whatever b.N is.
func once(b *testing.B) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	for range b.N {
	}
}

// BenchmarkNodeUp measures `duet up --nodes 2` on a new directory, until the command has ended and
// until both nodes are seen to be Ready.
func BenchmarkNodeUp(b *testing.B) {
	c := newLab(b)
	var exited, ready []time.Duration
	for range ups {
		e, r := c.up(b, 2)
		exited, ready = append(exited, e), append(ready, r)
		c.Down(b)
	}
	b.ReportMetric(median(exited), "up-ms")
	b.ReportMetric(median(ready), "nodes-ready-ms")
	once(b)
}

// BenchmarkNodePod measures from before the call that creates a Pod until a watcher sees it Ready,
// against the floor, in turns on the same node.
func BenchmarkNodePod(b *testing.B) {
	c := newLab(b)
	c.up(b, 1)
	c.LoadImages(b)
	w := c.watchPods(b)
	if _, _, err := c.run(b.Context(), w, pod("first")); err != nil { // pulls
		b.Fatal(err)
	}
	floor := newBare(b, c, "worker0")
	b.Run("alone", func(b *testing.B) { benchmarkAlone(b, c, w, floor) })
	b.Run(fmt.Sprintf("at-once=%d", together), func(b *testing.B) { benchmarkTogether(b, c, w, floor) })
	b.Run("kubectl-run", func(b *testing.B) { benchmarkKubectlRun(b, c, w) })
}

// benchmarkAlone has three in turn: a Pod, one in the node's network (what it takes less is what
// the Pod's network takes), and the floor.
func benchmarkAlone(b *testing.B, c *lab, w *watcher, floor *bare) {
	var pods, host, bare []time.Duration
	var created []time.Time
	var sighted []seen
	names := numberedNames("alone", alone)
	for _, name := range names {
		at, s, err := c.run(b.Context(), w, pod(name))
		if err == nil {
			err = c.remove(b.Context(), w, name)
		}
		if err != nil {
			b.Fatal(err)
		}
		pods, created, sighted = append(pods, s.ready.Sub(at)), append(created, at), append(sighted, s)

		inHost := pod(name + "-host")
		inHost.Spec.HostNetwork = true
		at, s, err = c.run(b.Context(), w, inHost)
		if err == nil {
			err = c.remove(b.Context(), w, inHost.Name)
		}
		if err != nil {
			b.Fatal(err)
		}
		host = append(host, s.ready.Sub(at))

		at = time.Now()
		err = floor.run(b.Context(), name)
		bare = append(bare, time.Since(at))
		if err == nil {
			err = floor.remove(b.Context(), name)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	var way stages
	traces := c.traces(b, "worker0")
	for i, name := range names {
		way.add(created[i], sighted[i], traces[name])
	}
	way.report(b)
	b.ReportMetric(median(host), "host-network-p50-ms")
	reportPods(b, pods, bare)
}

func benchmarkTogether(b *testing.B, c *lab, w *watcher, floor *bare) {
	var pods, bare []time.Duration
	var way stages
	for round := range rounds {
		names := numberedNames(fmt.Sprintf("together-%d", round), together)
		created, sighted, took := make([]time.Time, together), make([]seen, together), make([]time.Duration, together)
		err := atOnce(names, func(i int, name string) (err error) {
			created[i], sighted[i], err = c.run(b.Context(), w, pod(name))
			return err
		})
		if err == nil {
			err = c.remove(b.Context(), w, names...)
		}
		if err == nil {
			start := time.Now()
			err = atOnce(names, func(i int, name string) error {
				err := floor.run(b.Context(), name)
				took[i] = time.Since(start)
				return err
			})
		}
		if err == nil {
			err = floor.remove(b.Context(), names...)
		}
		if err != nil {
			b.Fatal(err)
		}
		traces := c.traces(b, "worker0")
		for i, name := range names {
			pods = append(pods, sighted[i].ready.Sub(created[i]))
			way.add(created[i], sighted[i], traces[name])
		}
		bare = append(bare, took...)
	}
	way.report(b)
	reportPods(b, pods, bare)
}

func reportPods(b *testing.B, pods, bare []time.Duration) {
	b.Helper()
	b.ReportMetric(median(pods), "ready-p50-ms")
	b.ReportMetric(high(pods), "ready-p99-ms")
	b.ReportMetric(median(bare), "floor-p50-ms")
	b.ReportMetric(high(bare), "floor-p99-ms")
	b.ReportMetric(median(pods)/median(bare), "p50-÷-floor")
	once(b)
}

// high is the 99th percentile in milliseconds: of less than a hundred, the greatest.
func high(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)*99/100]) / float64(time.Millisecond)
}

// benchmarkKubectlRun does what page 1 begins with, from the shell's exec to Ready. The image has no
// tag, so it is asked for in the registry each time.
func benchmarkKubectlRun(b *testing.B, c *lab, w *watcher) {
	var answered, ready []time.Duration
	var way stages
	names := numberedNames("run", kubectls)
	created, sighted := make([]time.Time, kubectls), make([]seen, kubectls)
	for i, name := range names {
		created[i] = time.Now()
		out, err := exec.Command(cluster.Program(), "kubectl", "--kubeconfig", c.Kubeconfig, "run", name, "--image", "nginx").CombinedOutput()
		if err != nil {
			b.Fatalf("kubectl run: %v: %s", err, out)
		}
		answered = append(answered, time.Since(created[i]))
		if sighted[i], err = w.await(b.Context(), name, isReady); err != nil {
			b.Fatal(err)
		}
		ready = append(ready, sighted[i].ready.Sub(created[i]))
		if err := c.remove(b.Context(), w, name); err != nil {
			b.Fatal(err)
		}
	}
	traces := c.traces(b, "worker0")
	for i, name := range names {
		way.add(created[i], sighted[i], traces[name])
	}
	way.report(b)
	b.ReportMetric(median(answered), "kubectl-ms")
	b.ReportMetric(median(ready), "ready-p50-ms")
	once(b)
}

// BenchmarkNodeIdle measures an agent that has nothing to do, without Pods and with many.
func BenchmarkNodeIdle(b *testing.B) {
	c := newLab(b)
	c.up(b, 1)
	c.LoadImages(b)
	w := c.watchPods(b)
	b.Run("pods=0", func(b *testing.B) { benchmarkNodeIdle(b, c.agent(b, "worker0")) })
	names := numberedNames("idle", idlePods)
	if err := atOnce(names, func(_ int, name string) error {
		_, _, err := c.run(b.Context(), w, idler(name))
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.Run(fmt.Sprintf("pods=%d", idlePods), func(b *testing.B) { benchmarkNodeIdle(b, c.agent(b, "worker0")) })
}

// idler is a Pod that does nothing.
func idler(name string) *corev1.Pod {
	p := pod(name)
	p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = "busybox:1.28", []string{"sleep", "3600"}
	return p
}

func benchmarkNodeIdle(b *testing.B, agent process) {
	time.Sleep(nodeIdle)
	before, start := agent.cpu(b), time.Now()
	time.Sleep(nodeCount)
	b.ReportMetric(100*float64(agent.cpu(b)-before)/float64(time.Since(start)), "cpu-%")
	b.ReportMetric(agent.memory(b, "VmRSS")/1e6, "rss-MB")
	b.ReportMetric(agent.memory(b, "RssAnon")/1e6, "anonymous-MB")
	once(b)
}
