package etcd

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkStart starts a member on a log with so many files of 64 MB that are full of writes of the
// size of a Service, and reports the processor time of the start, and of the check of files in it.
func BenchmarkStart(b *testing.B) {
	for _, full := range []int{0, 1, 2, 5} {
		b.Run(fmt.Sprintf("files=%d", full), func(b *testing.B) {
			dir := b.TempDir()
			fillLog(b, dir, full)
			var check, start time.Duration
			for b.Loop() {
				before := processorTime(b)
				if err := checkFiles(dir); err != nil {
					b.Fatal(err)
				}
				checked := processorTime(b)
				m, err := Start(b.Context(), dir)
				if err != nil {
					b.Fatal(err)
				}
				check, start = check+checked-before, start+processorTime(b)-checked
				b.StopTimer()
				m.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(check.Microseconds())/1e3/float64(b.N), "check-cpu-ms")
			b.ReportMetric(float64(start.Microseconds())/1e3/float64(b.N), "start-cpu-ms")
		})
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
