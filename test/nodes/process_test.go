package nodes

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// part is a process of a lab that a test may kill.
type part string

const (
	server     part = "server"
	box        part = "box"
	agent      part = "node"
	containerd part = "containerd"
)

// pid finds the process of this lab in /proc, 0 if there is none. No other lab's has our data
// directory among its arguments.
func (l *lab) pid(what part, node string) int {
	mark := map[part]string{
		server: "--data-dir=" + l.dir, box: "--root=" + l.root(node), agent: "--root-dir=" + l.root(node),
		containerd: filepath.Join(l.root(node), "containerd", "config.toml"),
	}[what]
	for pid, args := range processes(mark) {
		isIt := args[1] == string(what)
		if what == containerd {
			isIt = filepath.Base(args[0]) == string(what)
		}
		if isIt && slices.Contains(args, mark) {
			return pid
		}
	}
	return 0
}

// processes returns the arguments of those that have two or more, with the text in them, by number.
func processes(text string) map[int][]string {
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

// root is where the state of a node is.
func (l *lab) root(node string) string { return filepath.Join(l.dir, "nodes", node) }
