package nodestatus

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Facts are what the machine and the container runtime say about themselves at one moment.
type Facts struct {
	CPUs                              int64
	Memory, MemoryAvailable           int64 // bytes
	Swap                              int64 // bytes
	Disk, DiskAvailable               int64 // bytes, of the file system of Config.RootDir
	Inodes, InodesFree                int64
	Processes, ProcessesMax           int64
	HugePages                         map[string]int64 // by size as in resource names, "2Mi": bytes
	MachineID, SystemUUID, BootID     string
	Kernel, OSImage                   string
	RuntimeVersion                    string // containerd://1.6.20
	RuntimeProblem, RuntimeNetProblem string // empty: none
	Images                            []*cri.Image
}

// Runtime is the container runtime as far as a node's status needs it: a part of CRI's runtime and
// image services. Errors mean that it does not answer.
type Runtime interface {
	Version(ctx context.Context, apiVersion string) (*cri.VersionResponse, error)
	Status(ctx context.Context, verbose bool) (*cri.StatusResponse, error)
	ListImages(ctx context.Context, filter *cri.ImageFilter) ([]*cri.Image, error)
}

// machineFacts reads what the kernel and the distribution say. What cannot be read stays zero.
func machineFacts(root string) Facts {
	f := Facts{CPUs: int64(runtime.NumCPU()), HugePages: hugePages()}
	memory := fields("/proc/meminfo")
	f.Memory, f.MemoryAvailable, f.Swap = memory["MemTotal"]<<10, memory["MemAvailable"]<<10, memory["SwapTotal"]<<10
	var disk unix.Statfs_t
	if unix.Statfs(root, &disk) == nil {
		f.Disk, f.DiskAvailable = int64(disk.Blocks)*disk.Bsize, int64(disk.Bavail)*disk.Bsize
		f.Inodes, f.InodesFree = int64(disk.Files), int64(disk.Ffree)
	}
	// "0.20 0.18 0.12 1/80 11206": running / all threads
	if load := strings.Fields(line("/proc/loadavg")); len(load) > 3 {
		_, all, _ := strings.Cut(load[3], "/")
		f.Processes = number(all)
	}
	f.ProcessesMax = min(number(line("/proc/sys/kernel/pid_max")), number(line("/proc/sys/kernel/threads-max")))
	f.MachineID = line("/etc/machine-id")
	f.SystemUUID = strings.ToLower(line("/sys/class/dmi/id/product_uuid"))
	if f.SystemUUID == "" {
		f.SystemUUID = f.MachineID
	}
	f.BootID = line("/proc/sys/kernel/random/boot_id")
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		f.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	f.OSImage = osImage()
	return f
}

// ask adds what the container runtime says.
func (f *Facts) ask(ctx context.Context, r Runtime) {
	status, err := r.Status(ctx, false)
	if err != nil {
		f.RuntimeProblem = "container runtime is down"
		return
	}
	for _, c := range status.GetStatus().GetConditions() {
		if c.GetStatus() {
			continue
		}
		text := fmt.Sprintf("%s=%t reason:%s message:%s", c.GetType(), c.GetStatus(), c.GetReason(), c.GetMessage())
		switch c.GetType() {
		case cri.NetworkReady:
			f.RuntimeNetProblem = "container runtime network not ready: " + text
		case cri.RuntimeReady:
			f.RuntimeProblem = "container runtime not ready: " + text
		}
	}
	if v, err := r.Version(ctx, ""); err == nil {
		f.RuntimeVersion = v.GetRuntimeName() + "://" + v.GetRuntimeVersion()
	}
	f.Images, _ = r.ListImages(ctx, nil) // only shown: without it the old list stays
}

// line returns the first line of a file, "" if there is none.
func line(file string) string {
	data, _ := os.ReadFile(file)
	text, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(text)
}

// number reads a count; 0 if it is none.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// fields reads a file of lines like "MemTotal:  16303428 kB".
func fields(file string) map[string]int64 {
	out := map[string]int64{}
	data, _ := os.ReadFile(file)
	for l := bufio.NewScanner(bytes.NewReader(data)); l.Scan(); {
		if f := strings.Fields(l.Text()); len(f) > 1 {
			out[strings.TrimSuffix(f[0], ":")] = number(f[1])
		}
	}
	return out
}

// hugePages reads /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages and the like.
func hugePages() map[string]int64 {
	out := map[string]int64{}
	dirs, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	for _, d := range dirs {
		size := number(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(d), "hugepages-"), "kB"))
		name := fmt.Sprintf("%dKi", size)
		switch {
		case size >= 1<<20:
			name = fmt.Sprintf("%dGi", size>>20)
		case size >= 1<<10:
			name = fmt.Sprintf("%dMi", size>>10)
		}
		out[name] = number(line(filepath.Join(d, "nr_hugepages"))) * size << 10
	}
	return out
}

func osImage() string {
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, _ := os.ReadFile(file)
		for l := range strings.Lines(string(data)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(l), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return "Linux"
}

// imageNames returns the references of an image, tags after digests as upstream lists them.
func imageNames(i *cri.Image) []string {
	return slices.Concat(i.GetRepoDigests(), i.GetRepoTags())
}
