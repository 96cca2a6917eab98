package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bindSubPath mounts what sub names below volume at target. Containers may be changing the volume
// meanwhile, so no path is looked up twice: the file is opened beneath the volume, by a lookup that
// follows links only while they stay there (openat2(2), Linux 5.6), and what was opened is mounted.
func bindSubPath(volume, sub, target string) error {
	if !filepath.IsLocal(sub) {
		return fmt.Errorf("subPath %q leads out of its volume", sub)
	}
	root, err := unix.Open(volume, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: volume, Err: err}
	}
	defer unix.Close(root)
	fd, err := openOrMake(root, filepath.Clean(sub))
	if err != nil {
		return fmt.Errorf("subPath %q: %w", sub, err)
	}
	defer unix.Close(fd)
	if err := makeTarget(fd, target); err != nil {
		return err
	}
	source := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "bind", Path: target, Err: err}
	}
	return nil
}

// openBeneath opens what path names below the directory root, O_PATH.
func openBeneath(root int, path string) (int, error) {
	for {
		fd, err := unix.Openat2(root, path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		switch {
		case errors.Is(err, unix.EAGAIN): // something was renamed during the lookup of ..
			continue
		case errors.Is(err, unix.EXDEV):
			return -1, errors.New("a symbolic link leads out of the volume")
		}
		return fd, err
	}
}

// openOrMake opens what path names; missing directories are made with the mode of the one above.
func openOrMake(root int, path string) (int, error) {
	fd, err := openBeneath(root, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	parent, err := unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	done := ""
	for name := range strings.SplitSeq(path, string(filepath.Separator)) {
		done = filepath.Join(done, name)
		next, err := openBeneath(root, done)
		if errors.Is(err, fs.ErrNotExist) {
			next, err = makeDir(parent, name)
		}
		unix.Close(parent)
		if err != nil {
			return -1, err
		}
		parent = next
	}
	return parent, nil
}

// makeDir makes a directory in one that is open, and opens it. A link of that name, whatever it
// leads to, is an error.
func makeDir(parent int, name string) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(parent, &st); err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(parent, name, 0o750); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// makeTarget makes the file or directory that fd is to be mounted at, rid of what an earlier start of
// the container mounted there.
func makeTarget(fd int, target string) error {
	if err := unmountBelow(target); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return os.MkdirAll(target, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	return os.WriteFile(target, nil, 0o640)
}
