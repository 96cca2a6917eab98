package crilog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/duetk8s/duet/test/eventually"
)

// line is an entry of the given second: "out F text", "err P text".
func line(second int, text string) string {
	return fmt.Sprintf("2026-11-22T12:00:%02d.000000001Z std%s\n", second, text)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestCopy(t *testing.T) {
	ten := strings.Builder{}
	for i := range 10 {
		ten.WriteString(line(i, fmt.Sprintf("out F line %d", i)))
	}
	parts := line(1, "out F one") + line(2, "out P tw") + line(2, "err F noise") + line(3, "out P o t") + line(3, "out F wo") + line(4, "out F three")
	at := func(second int) time.Time { return time.Date(2026, 11, 22, 12, 0, second, 0, time.UTC) }
	for _, tt := range []struct {
		name, log, want string
		options         Options
	}{
		{"everything", line(1, "out F a") + line(2, "err F b"), "a\nb\n", Options{Tail: -1, Limit: -1}},
		{"one stream", line(1, "out F a") + line(2, "err F b"), "b\n", Options{Tail: -1, Limit: -1, Stream: Stderr}},
		{"empty", "", "", Options{Tail: -1, Limit: -1}},
		{"empty lines", line(1, "out F ") + line(2, "out F"), "\n\n", Options{Tail: -1, Limit: -1}},
		{"a line in parts", parts, "one\ntwnoise\no two\nthree\n", Options{Tail: -1, Limit: -1}},
		{"a line in parts, stamped once", line(1, "out P a") + line(2, "out F b"), "2026-11-22T12:00:01.000000001Z ab\n", Options{Tail: -1, Limit: -1, Timestamps: true}},
		{"unfinished", line(1, "out F a") + line(2, "out P b"), "a\nb", Options{Tail: -1, Limit: -1}},
		{"the end is being written", line(1, "out F a") + "2026-11-22T12:00:02Z stdout F b", "a\n", Options{Tail: -1, Limit: -1}},
		{"garbage", "garbage\n" + line(1, "out F a") + "2026-11-22T12:00:02Z stdxxx F b\n\n", "a\n", Options{Tail: -1, Limit: -1}},
		{"tail", ten.String(), "line 8\nline 9\n", Options{Tail: 2, Limit: -1}},
		{"tail 0", ten.String(), "", Options{Tail: 0, Limit: -1}},
		{"tail of more than there is", ten.String(), "line 0\n", Options{Tail: 100, Limit: 7}},
		{"tail of a line in parts", parts, "three\n", Options{Tail: 1, Limit: -1}},
		{"tail in one stream", parts, "two two"[:2] + "o two\nthree\n", Options{Tail: 2, Limit: -1, Stream: Stdout}},
		{"tail of an unfinished line", line(1, "out F a") + line(2, "out F b") + line(2, "out P c"), "b\nc", Options{Tail: 2, Limit: -1}},
		{"since", ten.String(), "line 8\nline 9\n", Options{Tail: -1, Limit: -1, Since: at(8)}},
		{"since and tail", ten.String(), "line 9\n", Options{Tail: 3, Limit: -1, Since: at(9)}},
		{"limit", ten.String(), "line 0\nli", Options{Tail: -1, Limit: 9}},
		{"limit 0", ten.String(), "", Options{Tail: -1, Limit: 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "0.log")
			write(t, file, tt.log)
			var out bytes.Buffer
			if err := Copy(t.Context(), file, tt.options, &out); err != nil || out.String() != tt.want {
				t.Errorf("got %q (%v), want %q", out.String(), err, tt.want)
			}
		})
	}
}

// Long lines and a log of many blocks: any tail is the end of the whole.
func TestTailOfALongLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	var log, all strings.Builder
	for i := range 3000 {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("x", i*7%500))
		if i%1000 == 999 {
			text = strings.Repeat("y", 200<<10) // longer than a block
		}
		log.WriteString(line(i%60, "out F "+text))
		all.WriteString(text + "\n")
	}
	write(t, file, log.String())
	lines := strings.SplitAfter(all.String(), "\n")
	lines = lines[:len(lines)-1]
	for _, n := range []int{1, 2, 10, 999, 1000, 1001, 2500, 3000, 5000} {
		var out bytes.Buffer
		if err := Copy(t.Context(), file, Options{Tail: int64(n), Limit: -1}, &out); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(lines[max(0, len(lines)-n):], ""); out.String() != want {
			t.Errorf("tail %d: got %d bytes, want %d", n, out.Len(), len(want))
		}
	}
}

func TestRotated(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "0.log")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(line(1, "out F 1") + line(2, "out F 2")))
	_ = w.Close()
	write(t, file+".20261122-120002.gz", z.String())
	write(t, file+".20261122-120004", line(3, "out F 3")+line(4, "out F 4"))
	write(t, file+".20261122-120009.tmp", "half")
	write(t, filepath.Join(dir, "1.log"), line(9, "out F another"))
	write(t, file, line(5, "out F 5")+line(6, "out F 6"))
	for n, want := range map[int64]string{-1: "1 2 3 4 5 6", 1: "6", 2: "5 6", 3: "4 5 6", 4: "3 4 5 6", 5: "2 3 4 5 6", 6: "1 2 3 4 5 6", 9: "1 2 3 4 5 6"} {
		var out bytes.Buffer
		err := Copy(t.Context(), file, Options{Tail: n, Limit: -1}, &out)
		if got := strings.Join(strings.Fields(out.String()), " "); err != nil || got != want {
			t.Errorf("tail %d: got %q (%v), want %q", n, got, err, want)
		}
	}
}

func TestPrevious(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"0.log", "2.log", "2.log.20261122-120000", "10.log", "x.log", "03.log"} {
		write(t, filepath.Join(dir, name), "")
	}
	for now, want := range map[string]string{"0.log": "", "2.log": "0.log", "10.log": "2.log", "11.log": "10.log"} {
		got, ok := Previous(filepath.Join(dir, now))
		if ok != (want != "") || ok && filepath.Base(got) != want {
			t.Errorf("before %s: %s", now, got)
		}
	}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// container writes a log as a runtime does.
type container struct {
	t     *testing.T
	path  string
	file  *os.File
	ended atomic.Bool
	asked atomic.Int32
}

func newContainer(t *testing.T) *container {
	t.Helper()
	c := &container{t: t, path: filepath.Join(t.TempDir(), "0.log")}
	c.open()
	return c
}

func (c *container) open() {
	c.t.Helper()
	f, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		c.t.Fatal(err)
	}
	c.file = f
}

func (c *container) print(text string) {
	c.t.Helper()
	if _, err := c.file.WriteString(line(1, "out F "+text)); err != nil {
		c.t.Fatal(err)
	}
}

// rotate is what kubelet and containerd do: rename, make a new file, write there, close the old one.
func (c *container) rotate(n int, between func()) {
	c.t.Helper()
	if err := os.Rename(c.path, fmt.Sprintf("%s.20261122-12000%d", c.path, n)); err != nil {
		c.t.Fatal(err)
	}
	old := c.file
	between()
	c.open()
	old.Close()
}

func (c *container) alive(context.Context) (bool, error) {
	if c.asked.Add(1)%3 == 0 {
		return false, errors.New("the runtime does not answer")
	}
	return !c.ended.Load(), nil
}

func (c *container) follow(ctx context.Context, o Options) (*buffer, <-chan error) {
	o.Limit, o.Follow, o.Alive = -1, true, c.alive
	out, done := &buffer{}, make(chan error, 1)
	go func() { done <- Copy(ctx, c.path, o, out) }()
	return out, done
}

func wait(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("following does not end")
	}
}

func TestFollow(t *testing.T) {
	c := newContainer(t)
	c.print("a")
	c.print("b")
	out, done := c.follow(t.Context(), Options{Tail: 1})
	eventually.Is(t, 5*time.Second, "what is followed", out.String, "b\n")
	c.print("c")
	eventually.Is(t, 5*time.Second, "what is followed", out.String, "b\nc\n")
	for i := range 3 {
		c.rotate(i, func() { c.print("late") })
		c.print("new")
	}
	eventually.Is(t, 5*time.Second, "what is followed", out.String, "b\nc\n"+strings.Repeat("late\nnew\n", 3))
	if _, err := c.file.WriteString("2026-11-22T12:00:01Z stdout F in two"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if _, err := c.file.WriteString(" writes\n"); err != nil {
		t.Fatal(err)
	}
	// The runtime closes the file first and says so later.
	c.print("end")
	c.file.Close()
	time.Sleep(50 * time.Millisecond)
	c.ended.Store(true)
	wait(t, done)
	if want := "b\nc\n" + strings.Repeat("late\nnew\n", 3) + "in two writes\nend\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestFollowEndedContainer(t *testing.T) {
	c := newContainer(t)
	c.print("a")
	c.file.Close()
	c.ended.Store(true)
	start := time.Now()
	out, done := c.follow(t.Context(), Options{Tail: -1})
	wait(t, done)
	if out.String() != "a\n" || time.Since(start) > time.Second {
		t.Errorf("got %q after %s", out.String(), time.Since(start))
	}
}

func TestFollowUntilTheClientLeaves(t *testing.T) {
	c := newContainer(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, done := c.follow(ctx, Options{Tail: -1})
	time.Sleep(20 * time.Millisecond)
	cancel()
	wait(t, done)
}

func TestFollowFileThatComesLater(t *testing.T) {
	c := newContainer(t)
	c.file.Close()
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	out, done := c.follow(t.Context(), Options{Tail: 3})
	time.Sleep(20 * time.Millisecond)
	c.open()
	c.print("a")
	eventually.Is(t, 5*time.Second, "what is followed", out.String, "a\n")
	c.file.Close()
	c.ended.Store(true)
	wait(t, done)
}

// The runtime is killed and comes back: the file is closed and opened again, the container lives.
func TestFollowAcrossRestartOfTheRuntime(t *testing.T) {
	c := newContainer(t)
	out, done := c.follow(t.Context(), Options{Tail: -1})
	c.print("a")
	eventually.Is(t, 5*time.Second, "what is followed", out.String, "a\n")
	c.file.Close()
	time.Sleep(30 * time.Millisecond)
	c.open()
	c.print("b")
	eventually.Is(t, 5*time.Second, "what is followed", out.String, "a\nb\n")
	time.Sleep(50 * time.Millisecond) // whoever has asked until now stops
	asked := c.asked.Load()
	time.Sleep(100 * time.Millisecond)
	if c.asked.Load() > asked+1 {
		t.Error("the runtime is asked again and again although nothing happens")
	}
	c.file.Close()
	c.ended.Store(true)
	wait(t, done)
}

func BenchmarkCopy(b *testing.B) {
	file := filepath.Join(b.TempDir(), "0.log")
	log := strings.Repeat(line(1, "out F "+strings.Repeat("x", 100)), 10000)
	if err := os.WriteFile(file, []byte(log), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if err := Copy(b.Context(), file, Options{Tail: -1, Limit: -1}, &bytes.Buffer{}); err != nil {
			b.Fatal(err)
		}
	}
}
