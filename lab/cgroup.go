package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Every node has a cgroup of its own in every hierarchy, whether the machine has the first version
// of cgroups, the second or both:
//
//	/duet/NAME/worker0            Pods, by the agent
//	/duet/NAME/worker0/box        the box's init, containerd, shims and the agent
const (
	cgroupTop = "/duet"
	cgroupBox = "box"
)

func clusterCgroup(cluster string) string    { return cgroupTop + "/" + cluster }
func nodeCgroup(cluster, node string) string { return clusterCgroup(cluster) + "/" + node }

// hierarchies returns where the cgroup file systems are mounted.
func hierarchies() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		// 36 35 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
		mount, fsys, ok := strings.Cut(line, " - ")
		if f := strings.Fields(mount); ok && len(f) > 4 && strings.HasPrefix(fsys, "cgroup") && !slices.Contains(points, f[4]) {
			points = append(points, f[4])
		}
	}
	return points, nil
}

// enterCgroup moves this process into the cgroup, made where it is missing, of every hierarchy.
func enterCgroup(path string) error {
	points, err := hierarchies()
	if err != nil {
		return err
	}
	for _, p := range points {
		if err := makeCgroup(p, path); err != nil {
			return err
		}
		// 0 is the process that writes, whatever its number is where it lives.
		if err := os.WriteFile(filepath.Join(p, path, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("enter a cgroup: %w", err)
		}
	}
	return nil
}

// makeCgroup makes a cgroup and its parents in one hierarchy. In the first version's cpuset, a new
// one may use no processor until it is told which; it gets its parent's.
func makeCgroup(point, path string) error {
	at := point
	for step := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		parent := at
		at = filepath.Join(at, step)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make a cgroup: %w", err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			own, err := os.ReadFile(filepath.Join(at, file))
			if err != nil || strings.TrimSpace(string(own)) != "" {
				continue
			}
			from, err := os.ReadFile(filepath.Join(parent, file))
			if err != nil || strings.TrimSpace(string(from)) == "" { // the second version inherits by itself
				continue
			}
			if err := os.WriteFile(filepath.Join(at, file), from, 0); err != nil {
				return fmt.Errorf("set up a cgroup: %w", err)
			}
		}
	}
	return nil
}

// removeCgroups removes a cgroup and all below it from every hierarchy. What was in it has been
// killed. None is no error.
func removeCgroups(path string) error {
	points, err := hierarchies()
	if err != nil {
		return err
	}
	for _, p := range points {
		if err := removeTree(filepath.Join(p, path)); err != nil {
			return fmt.Errorf("remove a cgroup: %w", err)
		}
	}
	return nil
}

// removeTree removes folders from the leaves up. Files in a cgroup are the kernel's.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return removeEmpty(dir)
}

// removeEmpty removes a cgroup without children. One whose last process has just died is busy for
// a moment longer, and nothing tells when that has passed.
func removeEmpty(dir string) error {
	for end := time.Now().Add(stopGrace); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
}

// removeClusterCgroups removes what all nodes of a cluster had, and the parent of all clusters
// with the last.
func removeClusterCgroups(cluster string) error {
	if err := removeCgroups(clusterCgroup(cluster)); err != nil {
		return err
	}
	points, err := hierarchies()
	for _, p := range points {
		_ = unix.Rmdir(filepath.Join(p, cgroupTop)) // fails while other clusters are there
	}
	return err
}
