package bench_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkStart measures from exec until the server says that it is ready, and until a first
// `kubectl get svc` has its answer, on new and on used data directories. One operation is one start.
func BenchmarkStart(b *testing.B) {
	used := b.TempDir()
	s := launch(b, used, "dual")
	s.awaitReady(b)
	s.stop(b)
	b.Run("data=new", func(b *testing.B) { benchmarkStart(b, b.TempDir) })
	b.Run("data=old", func(b *testing.B) { benchmarkStart(b, func() string { return used }) })
}

func benchmarkStart(b *testing.B, dir func() string) {
	b.Helper()
	var ready, answer, cpu []time.Duration
	for b.Loop() {
		s := launch(b, dir(), "dual")
		ready = append(ready, s.awaitReady(b))
		cpu = append(cpu, s.cpu(b))
		s.kubectl(b, "get", "svc")
		answer = append(answer, time.Since(s.started))
		b.StopTimer()
		s.stop(b)
		b.StartTimer()
	}
	b.ReportMetric(median(ready), "readyz-ms")
	b.ReportMetric(median(answer), "kubectl-ms")
	b.ReportMetric(median(cpu), "cpu-to-readyz-ms")
}

// kubectl is the bundled one, with nothing cached.
func (s *server) kubectl(b *testing.B, args ...string) {
	b.Helper()
	c := exec.Command(s.command.Path, append([]string{"kubectl", "--kubeconfig", filepath.Join(s.dir, "kubeconfig"), "--cache-dir", b.TempDir()}, args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("kubectl: %v: %s", err, out)
	}
}

// median in milliseconds.
func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2]) / float64(time.Millisecond)
}

// idleFor is how long a server is left alone before its memory is read, and idleCPU how long its
// processor time is counted afterwards.
const (
	idleFor = 10 * time.Second
	idleCPU = 20 * time.Second
)

// BenchmarkIdle measures a server that nobody uses, once: its size in memory, of which anonymous,
// and the part of a processor it takes; and the size of the program.
func BenchmarkIdle(b *testing.B) {
	s := serve(b, "dual")
	time.Sleep(idleFor)
	b.ReportMetric(s.memory(b, "VmRSS")/1e6, "rss-MB")
	b.ReportMetric(s.memory(b, "RssAnon")/1e6, "anonymous-MB")
	s.profile(b, "heap", "idle-heap.pprof", 0)()
	before, start := s.cpu(b), time.Now()
	time.Sleep(idleCPU)
	b.ReportMetric(100*float64(s.cpu(b)-before)/float64(time.Since(start)), "cpu-%")
	info, err := os.Stat(s.command.Path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "binary-MB")
	b.ReportMetric(0, "ns/op") // says nothing here
	for range b.N {            // what is measured takes its time, whatever b.N is
	}
}
