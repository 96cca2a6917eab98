package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// setupEmptyDir makes an empty directory that everybody in the Pod may write to, once: what
// containers put there, and how they change it, stays until the Pod goes.
func (m *Manager) setupEmptyDir(pod *corev1.Pod, source *corev1.EmptyDirVolumeSource, dir string) error {
	medium := corev1.StorageMediumDefault
	if source != nil {
		medium = source.Medium
	}
	switch medium {
	case corev1.StorageMediumDefault:
		return makeOwned(dir, 0o777, fsGroup(pod), 0o770)
	case corev1.StorageMediumMemory:
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		options := "mode=0777"
		if gid := fsGroup(pod); gid >= 0 {
			options = "mode=2777,gid=" + strconv.Itoa(gid)
		}
		if n := m.tmpfsSize(pod, source); n > 0 {
			options += ",size=" + strconv.FormatInt(n, 10)
		}
		return mountTmpfs(dir, options)
	default:
		return fmt.Errorf("emptyDir with medium %s is not supported by this node", medium)
	}
}

// makeOwned makes a directory unless it is there. Where it is there its mode and group are right too:
// it gets them under another name.
func makeOwned(dir string, mode fs.FileMode, gid int, groupMode fs.FileMode) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent, name := filepath.Split(dir)
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return err
	}
	temp := filepath.Join(parent, "."+name+".new") // no volume's name begins with a dot
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.Mkdir(temp, 0o750); err != nil {
		return err
	}
	if err := own(temp, mode, -1, gid, groupMode); err != nil {
		return err
	}
	return os.Rename(temp, dir)
}

// tmpfsSize is the least of: what the volume is limited to, what the Pod's containers may have of
// memory if all have a limit, and what the node can give. 0 is the kernel's own limit.
func (m *Manager) tmpfsSize(pod *corev1.Pod, source *corev1.EmptyDirVolumeSource) int64 {
	var size int64
	least := func(n int64) {
		if n > 0 && (size == 0 || n < size) {
			size = n
		}
	}
	if source.SizeLimit != nil {
		least(source.SizeLimit.Value())
	}
	var sum int64
	for i := range pod.Spec.Containers {
		limit := pod.Spec.Containers[i].Resources.Limits.Memory().Value()
		if limit == 0 {
			sum = 0
			break
		}
		sum += limit
	}
	least(sum)
	if node := m.node(); node != nil {
		least(node.Status.Allocatable.Memory().Value())
	}
	return size
}

func (m *Manager) node() *corev1.Node {
	if m.cfg.Node == nil {
		return nil
	}
	return m.cfg.Node()
}

// fsGroup is the group that a Pod's volumes belong to, -1 for none.
func fsGroup(pod *corev1.Pod) int {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}

// own sets mode and owner of a new file or directory; -1 leaves them. With a group come the bits in
// groupMode, and a directory hands its group on to what is made in it.
func own(path string, mode fs.FileMode, uid, gid int, groupMode fs.FileMode) error {
	if gid >= 0 {
		mode |= groupMode
		if info, err := os.Lstat(path); err != nil {
			return err
		} else if info.IsDir() {
			mode |= fs.ModeSetgid
		}
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode) // last: chown clears setgid
}

// checkHostPath makes or checks a path of the node, as its type says.
func checkHostPath(source *corev1.HostPathVolumeSource) error {
	want := corev1.HostPathUnset
	if source.Type != nil {
		want = *source.Type
	}
	path := source.Path
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch want {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(path, 0o755)
		}
	case corev1.HostPathFileOrCreate:
		if missing {
			return os.WriteFile(path, nil, 0o644)
		}
	default: // must be there
	}
	if err != nil && !missing {
		return err
	}
	check, ok := hostPathTypes[want]
	if !ok {
		return fmt.Errorf("%q is an invalid volume type", want)
	}
	if missing || !check.is(info.Mode()) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", path, check.what)
	}
	return nil
}

var hostPathTypes = map[corev1.HostPathType]struct {
	what string
	is   func(fs.FileMode) bool
}{
	corev1.HostPathDirectoryOrCreate: {"directory", fs.FileMode.IsDir},
	corev1.HostPathDirectory:         {"directory", fs.FileMode.IsDir},
	corev1.HostPathFileOrCreate:      {"file", func(m fs.FileMode) bool { return !m.IsDir() }},
	corev1.HostPathFile:              {"file", func(m fs.FileMode) bool { return !m.IsDir() }},
	corev1.HostPathSocket:            {"socket file", func(m fs.FileMode) bool { return m&fs.ModeSocket != 0 }},
	corev1.HostPathCharDev:           {"character device", func(m fs.FileMode) bool { return m&fs.ModeCharDevice != 0 }},
	corev1.HostPathBlockDev:          {"block device", func(m fs.FileMode) bool { return m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0 }},
}
