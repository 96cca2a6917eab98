package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const lockFile = "lock"

// Lock is the right to work on a data directory. It belongs to the open file, so whoever inherits
// the descriptor holds it too, and the kernel gives it back when the last holder dies.
type Lock struct {
	// File carries the lock; hand it to a child process to hand over the lock.
	File *os.File
}

// HeldError says that another process works on the data directory.
type HeldError struct {
	Dir string
	PID int // 0 if the holder has not said yet
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("data directory %s is in use by another duet (pid %d); wait for it or stop it, or use another --data-dir", e.Dir, e.PID)
}

// LockData takes the lock of the data directory dir, which must exist, and notes our pid in it. If
// another process holds it the error is a *HeldError.
func LockData(dir string) (*Lock, error) {
	for {
		f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock the data directory: %w", err)
		}
		if err := flock(f, dir); err != nil {
			f.Close()
			return nil, err
		}
		if !isStill(f) { // down removed it between our open and our lock
			f.Close()
			continue
		}
		l := &Lock{File: f}
		if err := l.SetPID(os.Getpid()); err != nil {
			f.Close()
			return nil, err
		}
		return l, nil
	}
}

// flock takes the lock, or tells who has it. If that process is dead the lock is only passing
// through other hands (a status is probing it, an up or a server is about to write its pid), so it
// looks again for a moment.
func flock(f *os.File, dir string) error {
	for range 100 {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if pid := readPID(f.Name()); pid > 0 && alive(pid) {
			return &HeldError{Dir: dir, PID: pid}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return &HeldError{Dir: dir}
}

func isStill(f *os.File) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(f.Name())
	return err == nil && os.SameFile(ours, there)
}

// SetPID notes who holds the lock, for messages and for down.
func (l *Lock) SetPID(pid int) error {
	if _, err := l.File.WriteAt([]byte(fmt.Sprintf("%-10d\n", pid)), 0); err != nil {
		return fmt.Errorf("write to the lock of the data directory: %w", err)
	}
	return nil
}

// AdoptLock takes over a lock that was inherited as descriptor fd.
func AdoptLock(fd uintptr) (*Lock, error) {
	l := &Lock{File: os.NewFile(fd, lockFile)}
	unix.CloseOnExec(int(fd))
	return l, l.SetPID(os.Getpid())
}

// Close lets go of our copy of the descriptor; the lock stays with those who inherited it.
func (l *Lock) Close() { l.File.Close() }

// holder returns the pid of the process that holds the lock of dir; 0 means nobody.
func holder(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, err
	}
	return readPID(f.Name()), nil
}

func readPID(name string) int {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

func alive(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
