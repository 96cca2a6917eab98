package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// How a volume's directory looks, so that all files change at once:
//
//	..2026_11_22_10_00_00.123456789/key     what is shown
//	..data -> ..2026_11_22_10_00_00.123456789
//	key -> ..data/key
//
// Containers and their libraries watch ..data, so the names are those of every Kubernetes node.
const (
	dataLink = "..data"
	newLink  = "..data_tmp"
	stamp    = "..2006_01_02_15_04_05."
)

// write makes a volume show files, all of them or, after an error, what it showed before. It does
// nothing where it shows them already.
func write(dir string, want files, gid int, now time.Time) error {
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old == "" || !shows(filepath.Join(dir, old), want, gid) {
		next, err := os.MkdirTemp(dir, now.UTC().Format(stamp))
		if err != nil {
			return err
		}
		if err := fill(next, want, gid); err != nil {
			return errors.Join(err, os.RemoveAll(next))
		}
		if err := swap(dir, filepath.Base(next)); err != nil {
			return errors.Join(err, os.RemoveAll(next))
		}
	}
	if err := links(dir, want); err != nil {
		return err
	}
	return sweep(dir)
}

// shows reports whether dir holds exactly these files, with their modes.
func shows(dir string, want files, gid int) bool {
	found := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := want[name]
		info, err := e.Info()
		if err != nil || !ok || info.Mode().Perm() != f.perm(gid) {
			return fs.ErrNotExist
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, f.data) {
			return fs.ErrNotExist
		}
		found++
		return nil
	})
	return err == nil && found == len(want)
}

// perm is a file's mode; the Pod's group may read it.
func (f file) perm(gid int) fs.FileMode {
	if gid >= 0 {
		return f.mode | 0o440
	}
	return f.mode
}

// fill writes the files into a directory that nobody looks at yet.
func fill(dir string, want files, gid int) error {
	if err := own(dir, 0o755, -1, gid, 0o550); err != nil {
		return err
	}
	for name, f := range want {
		for i, c := range name {
			if c != filepath.Separator {
				continue
			}
			sub := filepath.Join(dir, name[:i])
			if err := os.Mkdir(sub, 0o755); errors.Is(err, fs.ErrExist) {
				continue
			} else if err != nil {
				return err
			}
			if err := own(sub, 0o755, -1, gid, 0o550); err != nil {
				return err
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			return err
		}
		if err := own(path, f.mode, f.uid, gid, 0o440); err != nil {
			return err
		}
	}
	return nil
}

// swap lets ..data lead to another directory, in one step.
func swap(dir, to string) error {
	temp := filepath.Join(dir, newLink)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, temp); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, dataLink))
}

// links lets the names that users see lead into ..data: the first part of each path.
func links(dir string, want files) error {
	for name := range want {
		top, _, _ := strings.Cut(name, string(filepath.Separator))
		link, to := filepath.Join(dir, top), filepath.Join(dataLink, top)
		if have, err := os.Readlink(link); err == nil && have == to {
			continue
		}
		if err := os.RemoveAll(link); err != nil {
			return err
		}
		if err := os.Symlink(to, link); err != nil {
			return fmt.Errorf("show %s: %w", name, err)
		}
	}
	return nil
}

// sweep removes links that lead nowhere any more and directories that are no longer shown, also
// those of a write that was cut off.
func sweep(dir string) error {
	shown, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Name() == dataLink || e.Name() == shown:
			continue
		case e.Type()&fs.ModeSymlink != 0:
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
		case !strings.HasPrefix(e.Name(), ".."):
			continue // a directory that a subPath asked for
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
