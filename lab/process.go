package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a process may take to end after SIGTERM.
const stopGrace = 20 * time.Second

// stopProcess asks the process to end, waits, and ends it if it does not. The pid is checked with
// the function only after it has been pinned, so that no other process that got the same number is
// ever hit. A process that is gone is no error.
func stopProcess(pid int, grace time.Duration, is func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !is() {
		return nil
	}
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, stopGrace}} {
		if step.wait == 0 {
			continue
		}
		if err := unix.PidfdSendSignal(fd, step.signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
		if ended, err := awaitExit(fd, step.wait); ended || err != nil {
			return err
		}
	}
	return fmt.Errorf("stop process %d: it does not end, not even by SIGKILL; see its state in /proc/%d/stack", pid, pid)
}

// awaitExit waits until the process behind the descriptor has ended.
func awaitExit(fd int, timeout time.Duration) (bool, error) {
	for end := time.Now().Add(timeout); ; {
		left := max(time.Until(end), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0, err
	}
}

// occupants returns the processes whose main thread is in the namespace of one of the cluster's
// members, or of any if none are given, other than this one. Boxes come first: with one, all that
// is in it ends.
func occupants(cluster string, members ...string) ([]int, error) {
	there, err := namespaces(cluster)
	if err != nil {
		return nil, err
	}
	var inside []os.FileInfo
	for _, m := range there {
		if len(members) > 0 && !slices.Contains(members, m) {
			continue
		}
		if info, err := os.Stat(filepath.Join(netnsDir, namespaceName(cluster, m))); err == nil {
			inside = append(inside, info)
		}
	}
	if len(inside) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var boxes, others []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		info, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil || !slices.ContainsFunc(inside, func(i os.FileInfo) bool { return os.SameFile(i, info) }) {
			continue
		}
		if _, ok := boxRoot(pid); ok {
			boxes = append(boxes, pid)
		} else {
			others = append(others, pid)
		}
	}
	return append(boxes, others...), nil
}

// killOccupants ends whatever still runs in the namespaces of the members, or of all, which are
// about to go.
func killOccupants(cluster string, members ...string) error {
	pids, err := occupants(cluster, members...)
	for _, pid := range pids {
		here := func() bool {
			now, err := occupants(cluster, members...)
			return err == nil && slices.Contains(now, pid)
		}
		err = errors.Join(err, stopProcess(pid, 0, here))
	}
	return err
}

// serverIn returns the server that runs in the cluster's control namespace and the data directory
// it was started with; 0 if none does.
func serverIn(cluster string) (pid int, dataDir string, err error) {
	pids, err := occupants(cluster, memberControl)
	for _, pid := range pids {
		if dir, ok := serverDir(pid); ok {
			return pid, dir, nil
		}
	}
	return 0, "", err
}

// serverDir returns the data directory of a process if it is a server that up has started, which
// always says `server --data-dir=DIR`.
func serverDir(pid int) (string, bool) {
	argv := cmdline(pid)
	i := slices.Index(argv, "server")
	if i < 0 || i+1 >= len(argv) {
		return "", false
	}
	return strings.CutPrefix(argv[i+1], "--data-dir=")
}

func cmdline(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil
	}
	return strings.Split(string(bytes.TrimRight(data, "\x00")), "\x00")
}

// unmountBelow detaches every mount below dir, the deepest first; one on dir itself, such as a disk
// of its own, stays.
func unmountBelow(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		// 36 35 98:0 /root /mount/point rw,noatime … ; space is \040 in it
		if f := strings.Fields(line); len(f) > 4 {
			point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4])
			if strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	slices.Reverse(points) // they are listed in the order they were mounted
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}
