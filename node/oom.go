package node

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// oomCounts tells which containers the kernel killed for their memory. The runtime says so, too, but
// only of those that it began to watch in time, and sometimes after their end: the kernel's own
// counters are there before the process is dead.
//
// Concurrency: for the goroutine that receives the runtime's events, which is to ask at once: the
// runtime removes the cgroup of a container that ended.
type oomCounts struct {
	// root is "/", cgroup that of a Pod.
	root   string
	cgroup func(pod types.UID) string
	// explained are the kills on this machine whose container is known.
	explained int64
}

func newOOMCounts(parent string) *oomCounts {
	return &oomCounts{root: "/", cgroup: func(pod types.UID) string { return podCgroup(parent, pod) }}
}

// begin forgets what was before.
func (o *oomCounts) begin() { o.explained = o.machine() }

// killed tells whether a process of a container that ended was killed for its memory. If the
// container's cgroup is gone already it was, given that it ended as if, and that the machine has
// counted a kill that no other container explains.
func (o *oomCounts) killed(pod types.UID, container string, exitCode int32) bool {
	if n, ok := o.own(filepath.Join(o.cgroup(pod), container)); ok {
		o.explained += n
		return n > 0
	}
	if exitCode != killed || o.machine() <= o.explained {
		return false
	}
	o.explained++
	return true
}

// own is the counter of one cgroup, whichever version of cgroups the machine has.
func (o *oomCounts) own(cgroup string) (n int64, ok bool) {
	for _, file := range []string{
		filepath.Join("sys/fs/cgroup", cgroup, "memory.events"),
		filepath.Join("sys/fs/cgroup/memory", cgroup, "memory.oom_control"),
	} {
		if n, ok = o.count(file); ok {
			return n, ok
		}
	}
	return 0, false
}

// machine is the counter of all kills.
func (o *oomCounts) machine() int64 {
	n, _ := o.count("proc/vmstat")
	return n
}

// count reads the line "oom_kill 1" of a file.
func (o *oomCounts) count(file string) (n int64, ok bool) {
	data, err := os.ReadFile(filepath.Join(o.root, file))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		if text, found := strings.CutPrefix(line, "oom_kill "); found {
			n, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
