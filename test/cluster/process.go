package cluster

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Part is a process of a lab that a test may kill.
type Part string

// The parts: the control plane, the init of a node, its agent, its container runtime.
const (
	Server     Part = "server"
	Box        Part = "box"
	Agent      Part = "node"
	Containerd Part = "containerd"
)

// PID finds the process of this lab in /proc, 0 if there is none. No other lab's has our data
// directory among its arguments.
func (l *Lab) PID(what Part, node string) int {
	mark := map[Part]string{
		Server: "--data-dir=" + l.Dir, Box: "--root=" + l.Root(node), Agent: "--root-dir=" + l.Root(node),
		Containerd: filepath.Join(l.Root(node), "containerd", "config.toml"),
	}[what]
	for pid, args := range Processes(mark) {
		isIt := args[1] == string(what)
		if what == Containerd {
			isIt = filepath.Base(args[0]) == string(what)
		}
		if isIt && slices.Contains(args, mark) {
			return pid
		}
	}
	return 0
}

// Processes returns the arguments of those that have two or more, with the text in them, by number.
func Processes(text string) map[int][]string {
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	out := map[int][]string{}
	for _, entry := range entries {
		line, err := os.ReadFile(entry)
		if err != nil || !bytes.Contains(line, []byte(text)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if err == nil && len(args) > 1 {
			out[pid] = args
		}
	}
	return out
}

// Root is where the state of a node is.
func (l *Lab) Root(node string) string { return filepath.Join(l.Dir, "nodes", node) }

// Inside returns the processes of a Pod's first container, found by their cgroup; none when it has
// ended.
func (l *Lab) Inside(t testing.TB, pod *corev1.Pod) (pids []int) {
	t.Helper()
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	list := filepath.Join("/sys/fs/cgroup/pids/duet", l.Name, pod.Spec.NodeName, "pod"+string(pod.UID), id, "cgroup.procs")
	text, err := os.ReadFile(list)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
