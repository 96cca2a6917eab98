package crash

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// diskSize holds two log files of etcd (64 MB each), its database and the ballast.
const diskSize = "size=192m"

// smallDisk mounts a file system that only this test and the processes it starts see. The
// goroutine's thread has a mount namespace of its own and ends with it.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a file system")
	}
	dir := t.TempDir()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, diskSize); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves about left bytes on the disk, beside what a ballast of before took.
func fill(t *testing.T, ballast string, left uint64) {
	t.Helper()
	if err := os.RemoveAll(ballast); err != nil {
		t.Fatal(err)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(ballast), &stat); err != nil {
		t.Fatal(err)
	}
	free := stat.Bavail * uint64(stat.Bsize)
	if free <= left {
		t.Fatalf("only %d bytes are free", free)
	}
	if err := os.WriteFile(ballast, make([]byte, free-left), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stuff creates ConfigMaps until the server does not answer, and returns those acknowledged.
func stuff(ctx context.Context, a api, round int) (acknowledged []string) {
	for i := range 5000 {
		name := fmt.Sprintf("stuff-%d-%d", round, i)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, BinaryData: map[string][]byte{"data": bytes.Repeat([]byte{byte(i)}, 100<<10)}}
		if a.core.Post().Namespace("default").Resource("configmaps").Body(cm).MaxRetries(0).Do(ctx).Error() != nil {
			break
		}
		acknowledged = append(acknowledged, name)
	}
	return acknowledged
}

// TestFullDisk: the server says that the disk is full and ends; once there is space, all that was
// acknowledged is there.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	s := newServer(t, filepath.Join(dir, "data"))
	ballast := filepath.Join(dir, "ballast")
	s.start(t)
	s.awaitReady(t)
	c := newClient(t, s, 0)
	var stuffed []string
	for round := range 2 {
		fill(t, ballast, 2<<20)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		stuffed = append(stuffed, stuff(ctx, c.api, round)...)
		cancel()
		begin := time.Now()
		if code := s.exitCode(t); code != 1 {
			t.Errorf("round %d: exit code %d, want 1", round, code)
		}
		t.Logf("round %d: ended %v after the last answer, %d ConfigMaps acknowledged so far", round, time.Since(begin), len(stuffed))
		line := s.said(t)
		for _, w := range []string{s.dir, "no space left on device", "make space"} {
			if !strings.Contains(line, w) {
				t.Errorf("round %d: the error does not say %q: %s", round, w, line)
			}
		}
		t.Log(line)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		s.start(t)
		s.awaitReady(t)
		for _, name := range stuffed {
			if err := c.core.Get().Namespace("default").Resource("configmaps").Name(name).Do(t.Context()).Error(); err != nil {
				t.Errorf("round %d: acknowledged before the disk was full: %v", round, err)
			}
		}
		if len(stuffed) == 0 {
			t.Fatal("nothing was acknowledged before the disk was full: the test says nothing")
		}
	}
	s.stop(t)
}

// TestFullDiskFromStart: without space for a new data directory the server says so, at whatever
// file it got to, and makes it when there is space.
func TestFullDiskFromStart(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	s := newServer(t, filepath.Join(dir, "data"))
	ballast := filepath.Join(dir, "ballast")
	for _, left := range []uint64{0, 64 << 10, 1 << 20} {
		fill(t, ballast, left)
		s.start(t)
		if code := s.exitCode(t); code != 1 {
			t.Errorf("%d bytes left: exit code %d, want 1", left, code)
		}
		if line := s.said(t); !strings.Contains(line, "no space left on device") || !strings.Contains(line, dir) {
			t.Errorf("%d bytes left: the error does not say that %s is full: %s", left, dir, line)
		}
		t.Log(s.said(t))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.awaitReady(t)
	s.stop(t)
}
