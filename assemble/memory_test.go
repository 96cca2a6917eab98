package assemble

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func TestCollectAt(t *testing.T) {
	rows := []struct {
		name    string
		live    uint64
		percent int
		goal    uint64
	}{
		{"before the first collection", 0, 1200, 0},
		{"empty cluster", 24 << 20, 200, 72 << 20},
		{"where both rules meet", 96 << 20, 50, 144 << 20},
		{"full cluster", 200 << 20, 50, 300 << 20},
	}
	for _, row := range rows {
		got := collectAt(row.live, serverGarbage)
		if goal := row.live + row.live*uint64(got)/100; got != row.percent || goal != row.goal {
			t.Errorf("%s: %d %%, goal %d MB", row.name, got, goal>>20)
		}
	}
}

// Every page of the program can be given back at any time.
func TestUnmapProgram(t *testing.T) {
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
}

// TestSettle: memory is given back after the start, and again after each collection that has left
// the process larger by what is worth it.
func TestSettle(t *testing.T) {
	var size, given atomic.Int64
	size.Store(50)
	back := make(chan struct{}, 10)
	s := settler{time.Millisecond, 8, size.Load, func() { size.Store(40); given.Add(1); back <- struct{}{} }}
	done := make(chan struct{})
	go func() { defer close(done); s.run(t.Context()) }()
	t.Cleanup(func() { <-done })
	<-back
	for _, grown := range []int64{45, 48, 49, 40, 60} { // only two are worth it
		size.Store(grown)
		runtime.GC()
		if grown > 48 {
			<-back
		}
	}
	if n := given.Load(); n != 3 {
		t.Errorf("given back %d times, want 3", n)
	}
}
