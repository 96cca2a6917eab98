package etcd

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkStart starts a member on a log of 64 MB segments that are full of writes of the size of a
// Service, and reports what the check of its files takes of that.
func BenchmarkStart(b *testing.B) {
	for _, full := range []int{0, 1, 2, 5} {
		b.Run(fmt.Sprintf("full-segments=%d", full), func(b *testing.B) {
			dir := b.TempDir()
			fillLog(b, dir, full)
			var checks, starts time.Duration
			for b.Loop() {
				begin := time.Now()
				if err := checkFiles(dir); err != nil {
					b.Fatal(err)
				}
				checks += time.Since(begin)
				begin = time.Now()
				m, err := Start(b.Context(), dir)
				if err != nil {
					b.Fatal(err)
				}
				starts += time.Since(begin)
				b.StopTimer()
				m.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(checks.Microseconds())/1e3/float64(b.N), "check-ms")
			b.ReportMetric(float64(starts.Microseconds())/1e3/float64(b.N), "start-ms")
			b.ReportMetric(0, "ns/op") // of both
		})
	}
}

// fillLog has a member in dir fill its log so many times, but for the last few writes.
func fillLog(b *testing.B, dir string, full int) {
	b.Helper()
	m, err := Start(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	write(b, m.Client(), full*63_000_000/2_200)
}
