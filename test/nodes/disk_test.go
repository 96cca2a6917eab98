package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// TestDiskFull tells of a node whose disk is small. Its box has a mount of its own of it.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	l := newLab(t, "--nodes", "0")
	root := filepath.Join(l.Dir, "nodes", "worker0")
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("disk", root, "tmpfs", 0, "size=300m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the rest of the directory goes
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l.Up(t, "--nodes", "1")
	l.commands = map[string]func(*testscript.TestScript, bool, []string){
		"leave": func(ts *testscript.TestScript, _ bool, args []string) { // MEGABYTES are free from now on
			left, err := strconv.ParseInt(args[0], 10, 64)
			ts.Check(err)
			ts.Check(leave(root, left<<20))
		},
		"ondisk": func(ts *testscript.TestScript, _ bool, args []string) { // FILE of the node, which may be a pattern
			data, err := os.ReadFile(only(ts, root, args[0]))
			ts.Check(err)
			fmt.Fprint(ts.Stdout(), string(data))
		},
		"remove": func(ts *testscript.TestScript, _ bool, args []string) {
			ts.Check(os.Remove(only(ts, root, args[0])))
		},
	}
	l.tell(t, "testdata/disk")
}

// leave has so many bytes of a file system free: the rest is in one file.
func leave(root string, bytes int64) error {
	f, err := os.OpenFile(filepath.Join(root, "ballast"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(0); err != nil {
		return err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(root, &s); err != nil {
		return err
	}
	return unix.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail)*s.Bsize-bytes)
}

// only is the one file that a pattern is about.
func only(ts *testscript.TestScript, root, pattern string) string {
	found, err := filepath.Glob(filepath.Join(root, pattern))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%d files are %s", len(found), pattern)
	}
	return found[0]
}
