package nodes

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/duetk8s/duet/test/cluster"
)

// inventory is what a node holds of what Pods could leave behind, one line each, in order:
// addresses, network namespaces, mounts, links, rules, containers, snapshots, cgroups, folders and
// processes.
func (l *lab) inventory(t *testing.T, node string) []string {
	t.Helper()
	root, pid := l.Root(node), fmt.Sprint(l.PID(cluster.Box, node))
	var out []string
	add := func(kind string, items []string) {
		for _, item := range items {
			out = append(out, kind+" "+item)
		}
	}
	add("address", files(filepath.Join(root, "cni", "state", "duet"), "lock", "last_reserved_ip.0", "last_reserved_ip.1"))
	add("remembered address", files(filepath.Join(root, "cni", "state", "cache", "results")))
	add("network namespace", files(filepath.Join(root, "containerd", "state", "io.containerd.grpc.v1.cri", "netns")))
	add("shim", files(filepath.Join(root, "containerd", "state", "io.containerd.runtime.v2.task", "k8s.io")))
	add("folder", files(filepath.Join(root, "kubelet", "pods")))
	add("logs", files(filepath.Join(root, "kubelet", "logs", "pods")))
	add("mount", column(read(t, "/proc/"+pid+"/mountinfo"), 4))
	add("link", column(l.say(t, "nsenter", "--target", pid, "--net", "ip", "-o", "link"), 1))
	add("rule", strings.Split(l.say(t, "nsenter", "--target", pid, "--net", "nft", "list", "ruleset"), "\n"))
	ctr := []string{"--address", filepath.Join(root, "containerd", "containerd.sock"), "--namespace", "k8s.io"}
	for _, kind := range []string{"container", "task", "snapshot"} {
		add(kind, column(l.say(t, "ctr", append(slices.Clone(ctr), kind, "list")...), 0))
	}
	add("cgroup", l.cgroups(node))
	add("process", l.occupants(t, pid))
	slices.Sort(out)
	return out
}

// cgroups returns those of a node in all hierarchies.
func (l *lab) cgroups(node string) []string {
	var out []string
	tops, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", "*", "duet", l.Name, node))
	for _, top := range tops {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
	}
	return out
}

// occupants names the programs in the pid namespace of a box, and those below it.
func (l *lab) occupants(t *testing.T, box string) []string {
	t.Helper()
	var out []string
	parents := map[string]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		text, _ := os.ReadFile(stat)
		if _, after, ok := strings.Cut(string(text), ") "); ok {
			parents[filepath.Base(filepath.Dir(stat))] = strings.Fields(after)[1]
		}
	}
	for pid := range parents {
		for at := pid; at != ""; at = parents[at] {
			if at == box {
				name, _ := os.ReadFile("/proc/" + pid + "/comm")
				out = append(out, strings.TrimSpace(string(name)))
			}
		}
	}
	return out
}

// files names what is in a folder, but for some.
func files(dir string, but ...string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if !slices.Contains(but, e.Name()) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (l *lab) say(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// column returns one column of a table.
func column(text string, n int) []string {
	var out []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > n {
			out = append(out, f[n])
		}
	}
	return out
}

// difference tells what there is more of in one list than in another, both in order.
func difference(before, after []string) string {
	var out []string
	for _, line := range after {
		if i, ok := slices.BinarySearch(before, line); ok {
			before = slices.Delete(slices.Clone(before), i, i+1)
		} else {
			out = append(out, "+ "+line)
		}
	}
	for _, line := range before {
		out = append(out, "- "+line)
	}
	return strings.Join(out, "\n")
}
