package crilog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// After the runtime has closed a log it takes a while until it says that the container has ended. It
// is asked after these times, until something is written again: it may have closed the file because
// it rotates the log, or because it was restarted.
const askFirst, askLast = 10 * time.Millisecond, 5 * time.Second

// follow prints what there is and what comes, until the container has ended.
func (p *printer) follow(ctx context.Context, file string, r *reader, watch *watcher) error {
	ask := time.NewTimer(0) // the container may have ended long ago
	defer ask.Stop()
	pause := askFirst
	closing := true // the runtime has closed the file, or may have before we looked …
	sure := false   // … which it has not if it does not say soon that the container has ended
	var next source // the file after a rotation, not read yet
	defer func() { next.Close() }()
	for {
		if err := p.rest(ctx, r); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-watch.failed:
			return fmt.Errorf("watch the log: %w", err)
		case seen := <-watch.seen:
			if err := p.rotation(ctx, file, r, &next); err != nil {
				return err
			}
			if seen&unix.IN_CLOSE_WRITE != 0 {
				closing, sure, pause = true, true, askFirst
				ask.Reset(0)
			} else if seen&unix.IN_MODIFY != 0 {
				closing = false
			}
		case <-ask.C:
			if !closing {
				continue
			}
			alive, err := p.options.Alive(ctx)
			if err := p.turn(ctx, r, &next); err != nil {
				return err
			}
			if err == nil && !alive {
				return p.rest(ctx, r)
			}
			closing = sure || pause < time.Second
			ask.Reset(pause)
			pause = min(2*pause, askLast)
		}
	}
}

// rest prints all that there is and hands it to whoever reads.
func (p *printer) rest(ctx context.Context, r *reader) error {
	if err := p.drain(ctx, r); err != nil {
		return err
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	if p.options.Flush != nil {
		p.options.Flush()
	}
	return nil
}

// rotation looks whether there is a newer file than the one that is read, and goes on there once that
// is safe: the runtime makes the file before it writes there, so that the message of its making says
// nothing yet. With the next one, or when it has closed the old file, it does; and a file that has
// itself been rotated is safe at once.
func (p *printer) rotation(ctx context.Context, file string, r *reader, next *source) error {
	if err := p.turn(ctx, r, next); err != nil {
		return err
	}
	for {
		s, err := successor(file, r.file)
		if err != nil || s.File == nil {
			return err
		}
		*next = s
		if s.Name() == file && r.file.File != nil {
			return nil
		}
		if err := p.turn(ctx, r, next); err != nil {
			return err
		}
	}
}

// turn reads the old file to its end and goes on with the next one, if there is one.
func (p *printer) turn(ctx context.Context, r *reader, next *source) error {
	if next.File == nil {
		return nil
	}
	if err := p.drain(ctx, r); err != nil {
		return err
	}
	r.file.Close()
	*r = reader{file: *next, block: r.block}
	*next = source{}
	if r.file.gzipped {
		return p.whole(ctx, r.file, 0)
	}
	return nil
}

// successor opens the file that was begun after the present one; none if there is none. If the
// present one has been removed or compressed meanwhile it is the newest.
func successor(file string, current source) (source, error) {
	newest, err := openPlain(file)
	if err != nil || newest.File == nil {
		return source{}, err
	}
	if current.File == nil {
		return newest, nil
	}
	all := append(rotated(file, newest), newest)
	after := len(all) - 1
	for i, s := range all {
		if sameFile(s.File, current.File) {
			after = i + 1
		}
	}
	var next source
	if after < len(all) {
		next = all[after]
		all[after] = source{}
	}
	closeAll(all)
	return next, nil
}

// watcher reports what happens to the files of one directory.
type watcher struct {
	seen   chan uint32 // capacity 1: the kinds of events since it was last read
	failed chan error
	close  func()
}

const watched = unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO

// newWatcher watches a directory, which must exist. Its goroutine ends with close.
func newWatcher(ctx context.Context, dir string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, watched|unix.IN_ONLYDIR); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "watch", Path: dir, Err: err}
	}
	file := os.NewFile(uintptr(fd), "inotify")
	w := &watcher{seen: make(chan uint32, 1), failed: make(chan error, 1)}
	var group sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { file.Close() })
	w.close = func() {
		stop()
		file.Close()
		group.Wait()
	}
	group.Go(func() {
		buffer := make([]byte, 16<<10)
		for {
			n, err := file.Read(buffer)
			if err != nil {
				if !errors.Is(err, os.ErrClosed) {
					w.failed <- err
				}
				return
			}
			w.note(kinds(buffer[:n]))
		}
	})
	return w, nil
}

// note adds to what has not been read yet.
func (w *watcher) note(mask uint32) {
	select {
	case before := <-w.seen:
		mask |= before
	default:
	}
	w.seen <- mask // only we write
}

// kinds collects the masks of the events in a buffer: struct inotify_event { int wd; u32 mask,
// cookie, len; char name[len] }.
func kinds(events []byte) uint32 {
	var all uint32
	for len(events) >= unix.SizeofInotifyEvent {
		all |= binary.NativeEndian.Uint32(events[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(size, len(events)):]
	}
	return all
}
