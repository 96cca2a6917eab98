package hostnet

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Within runs fn on a thread inside the network namespace at path, such as /proc/PID/ns/net: sockets
// that fn itself opens, files it opens below /proc/sys/net and processes it starts belong there, not
// those of goroutines that it starts. An empty path is the present namespace.
func Within(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	defer ns.Close()
	return OnThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace %s: %w", path, err)
		}
		return fn()
	})
}

// OnThread runs fn, which may change the network namespace of its thread, on a thread of its own and
// takes the thread back afterwards. One that cannot go back is never used again: a goroutine that ends
// locked takes its thread along, but for the process's first, which is why fn does not simply end locked:
// what /proc/self tells of would then be elsewhere for good.
func OnThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := Open()
		if err == nil {
			err = fn()
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			home.Close()
		}
		done <- err
	}()
	return <-done
}

// Open opens the network namespace that the calling thread is in.
func Open() (*os.File, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, err := os.Open(ThreadPath())
	if err != nil {
		return nil, fmt.Errorf("open the present network namespace: %w", err)
	}
	return ns, nil
}

// ThreadPath is where the kernel shows the network namespace of the calling thread, for as long as it
// lives; the caller keeps it by [runtime.LockOSThread].
func ThreadPath() string { return fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()) }
