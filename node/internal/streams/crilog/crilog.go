// Package crilog reads the logs that a container runtime writes in CRI's format, as `kubectl logs`
// shows them: the rotated files first, a part of the lines only, and on as the container prints.
//
// Following waits for the kernel's word (inotify) that the file was written, closed or rotated; as
// long as a container prints nothing nothing happens here.
package crilog

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The streams of a container.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Options say what of a log is wanted.
type Options struct {
	Tail       int64     // so many lines from the end; negative: all
	Since      time.Time // nothing older
	Timestamps bool      // before each line
	Limit      int64     // so many bytes of output; negative: no limit
	Stream     string    // one stream alone; empty: both
	// Follow goes on until the container has ended or the context has.
	Follow bool
	// Alive is asked when following: does the container still run, or may it have printed something
	// that is not in the file yet? An error means that this is not known at present.
	Alive func(context.Context) (bool, error)
	// Flush, if not nil, is called when all that there is has been written and more is waited for.
	Flush func()
}

// Copy writes the log in file and in its rotated predecessors. A file that does not exist, yet, is an
// empty one. The end of the context is no error.
func Copy(ctx context.Context, file string, o Options, w io.Writer) error {
	p := &printer{options: o, out: bufio.NewWriterSize(w, 32<<10), left: o.Limit}
	err := p.copy(ctx, file)
	if err == nil || errors.Is(err, errLimit) {
		err = p.out.Flush()
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // see above
	}
	return err
}

func (p *printer) copy(ctx context.Context, file string) error {
	var watch *watcher
	if p.options.Follow {
		// Before the first look at the file, so that no change after it is missed.
		var err error
		if watch, err = newWatcher(ctx, filepath.Dir(file)); err != nil {
			return fmt.Errorf("watch the log: %w", err)
		}
		defer watch.close()
	}
	current, err := openPlain(file)
	if err != nil {
		return err
	}
	files := append(rotated(file, current), current)
	skip := p.options.Tail
	first := 0
	var offset int64
	if skip >= 0 {
		if first, offset, err = tail(files, skip, p.options.Stream); err != nil {
			closeAll(files)
			return err
		}
	}
	for i, f := range files[:len(files)-1] {
		if i >= first && err == nil {
			err = p.whole(ctx, f, offset)
			offset = 0
		}
		f.Close()
	}
	if err != nil {
		current.Close()
		return err
	}
	r := &reader{file: current, offset: offset}
	defer func() { r.file.Close() }()
	if p.options.Follow {
		return p.follow(ctx, file, r, watch)
	}
	return p.drain(ctx, r)
}

// source is an open log file.
type source struct {
	*os.File // nil: there is none
	gzipped  bool
}

func (s source) Close() error {
	if s.File == nil {
		return nil
	}
	return s.File.Close()
}

func openPlain(file string) (source, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, nil
	}
	if err != nil {
		return source{}, fmt.Errorf("open the log: %w", err)
	}
	return source{File: f}, nil
}

// rotated opens the predecessors of a log file, the oldest first: 0.log.20261122-120000.gz,
// 0.log.20261122-130000. One that goes away meanwhile is left out, and so is the current file, should
// it have been rotated after it was opened.
func rotated(file string, current source) []source {
	names, _ := filepath.Glob(escape(file) + ".[0-9]*") // the pattern is valid
	slices.Sort(names)
	var out []source
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if current.File != nil && sameFile(f, current.File) {
			f.Close()
			continue
		}
		out = append(out, source{f, strings.HasSuffix(name, ".gz")})
	}
	return out
}

func escape(file string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(file)
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

func closeAll(files []source) {
	for _, f := range files {
		f.Close()
	}
}

// Previous returns the log of the attempt before the one whose log is file, DIR/3.log → DIR/2.log or
// the newest before it that is left.
func Previous(file string) (string, bool) {
	dir, now := filepath.Dir(file), attempt(filepath.Base(file))
	entries, _ := os.ReadDir(dir) // no directory: no log
	best := -1
	for _, e := range entries {
		if n := attempt(e.Name()); n < now {
			best = max(best, n)
		}
	}
	if best < 0 {
		return "", false
	}
	return filepath.Join(dir, fmt.Sprintf("%d.log", best)), true
}

// attempt reads the number in 3.log; -1 if it is none.
func attempt(name string) int {
	var n int
	if _, err := fmt.Sscanf(name, "%d.log", &n); err != nil || name != fmt.Sprintf("%d.log", n) {
		return -1
	}
	return n
}

// whole prints a rotated file.
func (p *printer) whole(ctx context.Context, s source, offset int64) error {
	if !s.gzipped {
		return p.drain(ctx, &reader{file: s, offset: offset})
	}
	z, err := gzip.NewReader(s)
	if err != nil {
		return fmt.Errorf("read the log %s: %w", s.Name(), err)
	}
	if _, err := io.CopyN(io.Discard, z, offset); err != nil {
		return fmt.Errorf("read the log %s: %w", s.Name(), err)
	}
	lines := bufio.NewReader(z)
	for ctx.Err() == nil {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log %s: %w", s.Name(), err)
		}
		if err := p.print(line[:len(line)-1]); err != nil {
			return err
		}
	}
	return ctx.Err()
}
