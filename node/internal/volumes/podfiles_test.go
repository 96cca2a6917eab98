package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func sh(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// C4.1, C4.4: one file, the same inode, mode 0644, whatever was done to it.
func TestWriteHosts(t *testing.T) {
	m, _ := newManager(t)
	var inode uint64
	for i, tt := range []struct{ name, edit, write, found string }{
		{"first", "", "one\n", ""},
		{"the same", "", "one\n", "one\n"},
		{"longer", "", "one\ntwo\n", "one\n"},
		{"an edit", "echo 192.0.2.9 edited >>etc-hosts; chmod 0600 etc-hosts", "one\ntwo\n", "one\ntwo\n192.0.2.9 edited\n"},
		{"shorter", "", "x\n", "one\ntwo\n"},
		{"emptied", ">etc-hosts", "x\n", ""},
	} {
		if tt.edit != "" {
			sh(t, m.podDir("u1"), tt.edit)
		}
		found, err := m.WriteHosts("u1", []byte(tt.write))
		if err != nil || string(found) != tt.found {
			t.Errorf("%s: found %q, want %q (%v)", tt.name, found, tt.found, err)
		}
		got, err := os.ReadFile(m.HostsPath("u1"))
		if err != nil || string(got) != tt.write {
			t.Errorf("%s: got %q (%v)", tt.name, got, err)
		}
		info, err := os.Stat(m.HostsPath("u1"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o644 {
			t.Errorf("%s: mode %s", tt.name, info.Mode())
		}
		if ino := info.Sys().(*syscall.Stat_t).Ino; i > 0 && ino != inode {
			t.Errorf("%s: another file", tt.name)
		} else {
			inode = ino
		}
	}
}

// A container cannot make the agent read a file of any size, nor follow a link.
func TestWriteHostsDefends(t *testing.T) {
	m, _ := newManager(t)
	if _, err := m.WriteHosts("u1", []byte("x\n")); err != nil {
		t.Fatal(err)
	}
	sh(t, m.podDir("u1"), "truncate -s 1G etc-hosts")
	found, err := m.WriteHosts("u1", []byte("x\n"))
	if err != nil || len(found) > 2<<20 {
		t.Errorf("read %d bytes, %v", len(found), err)
	}
	if got, err := os.ReadFile(m.HostsPath("u1")); err != nil || string(got) != "x\n" {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	sh(t, m.podDir("u1"), "rm etc-hosts; ln -s /dev/null etc-hosts")
	if _, err := m.WriteHosts("u1", []byte("x\n")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("through a link: %v", err)
	}
}

// Who reads while the file is written anew never finds less than there was.
func TestWriteHostsNeverEmpty(t *testing.T) {
	m, _ := newManager(t)
	line := bytes.Repeat([]byte("x"), 20_000)
	if _, err := m.WriteHosts("u1", line); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	short := make(chan int, 1)
	go func() {
		defer close(short)
		for {
			select {
			case <-done:
				return
			default:
			}
			if data, err := os.ReadFile(m.HostsPath("u1")); err == nil && len(data) < 20_000 {
				short <- len(data)
				return
			}
		}
	}()
	for i := range 300 {
		if _, err := m.WriteHosts("u1", append(line, fmt.Sprint(i%2)...)); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	if n, ok := <-short; ok {
		t.Errorf("a reader found %d bytes", n)
	}
}

// TestWriteHostsDiskFull: what does not fit on the disk is not begun.
func TestWriteHostsDiskFull(t *testing.T) {
	m, _ := newManager(t)
	before := []byte("10.0.0.1\tweb\n")
	if _, err := m.WriteHosts("u1", before); err != nil {
		t.Fatal(err)
	}
	path := m.HostsPath("u1")
	if err := unix.Mount("small", filepath.Dir(path), "tmpfs", 0, "size=16k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Dir(path), unix.MNT_DETACH) })
	if _, err := m.WriteHosts("u1", before); err != nil {
		t.Fatal(err)
	}
	after := bytes.Repeat([]byte("10.0.0.2\tlonger\n"), 2000)
	found, err := m.WriteHosts("u1", after)
	if !errors.Is(err, unix.ENOSPC) || !bytes.Equal(found, before) {
		t.Errorf("found %q, %v", found, err)
	}
	if now, err := os.ReadFile(path); !bytes.Equal(now, before) {
		t.Errorf("%q is left, %v", now, err)
	}
	if err := unix.Mount("", filepath.Dir(path), "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if found, err := m.WriteHosts("u1", after); err != nil || !bytes.Equal(found, before) {
		t.Errorf("with space again: found %q, %v", found, err)
	}
}

func TestTerminationLog(t *testing.T) {
	m, _ := newManager(t)
	path, err := m.TerminationLog("u1", "main", 3)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o666 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"died of old age", "died of old age"},
		{strings.Repeat("a", 5000) + "end", strings.Repeat("a", 4093) + "end"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o666); err != nil {
			t.Fatal(err)
		}
		if got, err := m.TerminationMessage("u1", "main", 3); err != nil || got != tt.want {
			t.Errorf("got %d bytes %v, want %d", len(got), err, len(tt.want))
		}
	}
	if got, err := m.TerminationMessage("u1", "main", 4); err != nil || got != "" {
		t.Errorf("of another attempt: %q %v", got, err)
	}
	if _, err := os.Stat(m.HostsPath("u1")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
