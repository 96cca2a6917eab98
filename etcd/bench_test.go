package etcd

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkStart starts a member on a log of 64 MB segments that are full of writes of the size of a
// Service, and reports what the check of its files takes of that.
func BenchmarkStart(b *testing.B) {
	for _, full := range []int{0, 1, 2} {
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

// fillLog writes to a member in dir until its log is full so many times, but for the last few writes.
func fillLog(b *testing.B, dir string, full int) {
	b.Helper()
	m, err := Start(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	client, object := m.Client(), strings.Repeat("x", 2000)
	writes := make(chan int)
	go func() {
		defer close(writes)
		for i := range full * 63_000_000 / 2_200 {
			writes <- i
		}
	}()
	done := make(chan error)
	for range 64 {
		go func() {
			var err error
			for i := range writes {
				if err == nil {
					_, err = client.Put(b.Context(), fmt.Sprint("/registry/", i%1000), object)
				}
			}
			done <- err
		}()
	}
	for range 64 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	for _, file := range logs(dir) {
		info, err := os.Stat(file)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%s: %d bytes", file, info.Size())
	}
}
