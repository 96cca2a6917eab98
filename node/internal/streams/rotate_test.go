package streams

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/duetk8s/duet/node/internal/streams/crilog"
)

func TestRotate(t *testing.T) {
	node, clock := newNode(t), testclock.NewFakeClock(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := New(Config{Pods: node, Runtime: node, Clock: clock})
	dir := filepath.Join(node.logs, "main")
	file := filepath.Join(dir, "1.log")
	line := func(n int) string { return fmt.Sprintf("2026-11-22T12:00:00Z stdout F %d\n", n) }
	grow := func(n int) {
		text := line(n) + strings.Repeat("2026-11-22T12:00:00Z stderr F "+strings.Repeat("x", 1<<16)+"\n", maxLogSize>>16)
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	node.reopen = func() error { return os.WriteFile(file, nil, 0o640) }
	names := func() string {
		var out []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return strings.Join(out, " ")
	}
	s.rotateAll(t.Context())
	if got := names(); got != "0.log 1.log" {
		t.Errorf("a small log was rotated: %s", got)
	}
	for n := range 6 {
		grow(n)
		clock.Step(time.Minute)
		s.rotateAll(t.Context())
	}
	if got, want := names(), "0.log 1.log 1.log.20261122-120300.gz 1.log.20261122-120400.gz 1.log.20261122-120500.gz 1.log.20261122-120600"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// The reader knows what the rotation made.
	var out strings.Builder
	if err := crilog.Copy(t.Context(), file, crilog.Options{Tail: -1, Limit: -1, Stream: crilog.Stdout}, &out); err != nil || out.String() != "2\n3\n4\n5\n" {
		t.Errorf("read %q, %v", out.String(), err)
	}

	// The runtime does not answer: the log stays where the runtime writes.
	grow(7)
	node.reopen = func() error { return errors.New("down") }
	if err := s.rotate(t.Context(), "c1", file); err == nil || !strings.Contains(err.Error(), "down") {
		t.Errorf("no error: %v", err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first := make([]byte, len(line(7)))
	if _, err := io.ReadFull(f, first); err != nil || !slices.Equal(first, []byte(line(7))) {
		t.Errorf("%q, %v", first, err)
	}
}
