package volumes

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountTmpfs mounts memory at dir, once. options are tmpfs's own, `size=1048576`.
func mountTmpfs(dir, options string) error {
	if at, err := isMountPoint(dir); at || err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	// What is in memory for being secret must not reach the disk by way of swap; Linux before 6.3
	// does not know the option.
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, join(options, "noswap"))
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", dir, "tmpfs", flags, options)
	}
	if err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", dir, err)
	}
	return nil
}

func join(options ...string) string {
	var out []string
	for _, o := range options {
		if o != "" {
			out = append(out, o)
		}
	}
	return strings.Join(out, ",")
}

// isMountPoint reports whether something is mounted at exactly dir. A bind mount of the same file
// system counts, which comparing device numbers would miss (statx(2), Linux 5.8).
func isMountPoint(dir string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false, &os.PathError{Op: "statx", Path: dir, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// unmountBelow unmounts everything at and below dir, what was mounted last first. Afterwards nothing
// is mounted there, or there is an error: the caller is about to remove the tree.
func unmountBelow(dir string) error {
	root, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	points, err := mountsBelow(root)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) { // somebody stands in it; it goes when they leave
			err = unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) { // it is gone already
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	if len(points) == 0 {
		return nil
	}
	if left, err := mountsBelow(root); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("still mounted: %s", strings.Join(left, " ")))
	}
	return nil
}

// mountsBelow lists what is mounted at or below dir in this mount namespace, in order.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); ; {
		if !s.Scan() {
			return out, s.Err()
		}
		// 36 35 98:0 /mnt1 /mnt/parent\040x rw,noatime master:1 - ext3 /dev/root rw
		fields := strings.SplitN(s.Text(), " ", 6)
		if len(fields) < 6 {
			continue
		}
		if point := unescape.Replace(fields[4]); point == dir || strings.HasPrefix(point, dir+"/") {
			out = append(out, point)
		}
	}
}

// unescape undoes what the kernel does to blanks in paths.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
