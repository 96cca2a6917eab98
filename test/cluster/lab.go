// Package cluster is what the tests of real labs share: a [Lab] that `duet up` has made, without a way
// out and with a data directory, a name and a kubeconfig of its own, Pods to put into it, and the
// commands of stories that call kubectl ([Kubectl]).
//
// It asserts nothing about duet but that what a test asks for comes to pass. Only processes of the
// lab are ever killed, found by its data directory.
//
// The program is bin/duet, or what $DUET names; the images are those of `make images`. Both come
// from `make test`. Without root, or without one of them, [New] skips the test.
package cluster

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/test/eventually"
)

const (
	// Patience is for what takes a second or two on an idle machine.
	Patience = 90 * time.Second
)

// Lab is a cluster that `duet up` made.
type Lab struct {
	Name, Dir, Kubeconfig, Home string
	Config                      *rest.Config
	Client                      kubernetes.Interface
}

var labs atomic.Int32

// Images are those of `make images`.
var Images = []string{"../../build/images/nginx.tar", "../../build/images/busybox-1.28.tar"}

// New brings a cluster up with the images of the tests in it; it goes with the test.
func New(t testing.TB, flags ...string) *Lab {
	t.Helper()
	l := Named(t)
	l.Up(t, flags...)
	l.LoadImages(t)
	return l
}

// Named is a lab that is not up yet; it goes with the test too.
func Named(t testing.TB) *Lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("clusters need root")
	}
	for _, file := range append([]string{Program()}, Images...) {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%v: run `make build images`", err)
		}
	}
	base, err := os.MkdirTemp("", "duet-test") //nolint:usetesting // sockets in it must have short names
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{
		Name: fmt.Sprintf("t%d-%d", os.Getpid(), labs.Add(1)),
		Dir:  filepath.Join(base, "data"), Kubeconfig: filepath.Join(base, "kubeconfig"), Home: base,
	}
	t.Cleanup(func() {
		l.Down(t)
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	return l
}

// LoadImages into the cluster; nodes pull them from there.
func (l *Lab) LoadImages(t testing.TB) {
	t.Helper()
	l.Must(t, append([]string{"image", "load", "--name", l.Name, "--data-dir", l.Dir}, Images...)...)
}

// Up makes or resumes the cluster.
func (l *Lab) Up(t testing.TB, flags ...string) {
	t.Helper()
	args := []string{"up", "--name", l.Name, "--data-dir", l.Dir, "--kubeconfig", l.Kubeconfig, "--uplink=false"}
	l.Must(t, append(args, flags...)...)
	var err error
	if l.Config, err = clientcmd.BuildConfigFromFlags("", l.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	l.Config.QPS = -1
	if l.Client, err = kubernetes.NewForConfig(l.Config); err != nil {
		t.Fatal(err)
	}
}

// Down removes the cluster; a test that failed says what its logs complain about first.
func (l *Lab) Down(t testing.TB) {
	t.Helper()
	if t.Failed() {
		l.complaints(t)
	}
	l.Must(t, "down", "--name", l.Name, "--data-dir", l.Dir)
}

func (l *Lab) complaints(t testing.TB) {
	_ = filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Base(filepath.Dir(path)) != "logs" || !strings.HasSuffix(path, ".log") {
			return nil //nolint:nilerr // what is not there says nothing
		}
		text, _ := os.ReadFile(path)
		lines := strings.Split(string(text), "\n")
		t.Logf("== %s\n%s", path, strings.Join(lines[max(0, len(lines)-25):], "\n"))
		return nil
	})
}

// Command is the program with its arguments, for the user of this lab.
func (l *Lab) Command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, Program(), args...)
	c.Env = append(os.Environ(), "HOME="+l.Home, "KUBECONFIG="+l.Kubeconfig)
	return c
}

// Run runs the program and returns what it said.
func (l *Lab) Run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := l.Command(ctx, args...).CombinedOutput()
	return string(out), err
}

// Must is Run that has to succeed.
func (l *Lab) Must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := l.Run(args...)
	if err != nil {
		t.Fatalf("duet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Program is the path of the program under test.
func Program() string {
	name := os.Getenv("DUET")
	if name == "" {
		name = "../../bin/duet"
	}
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// Namespace is the path of the network namespace of a member: worker0, control, net (the bridge's).
func (l *Lab) Namespace(member string) string {
	return filepath.Join("/run/netns", "duet-"+l.Name+"-"+member)
}

// Kill ends a part of the lab at once and returns when it has gone.
func (l *Lab) Kill(t testing.TB, what Part, node string) {
	t.Helper()
	pid := l.PID(what, node)
	if pid == 0 {
		t.Fatalf("no %s of %s", what, l.Name)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	Eventually(t, fmt.Sprintf("the end of the %s", what), func() string {
		if at := l.PID(what, node); at == pid {
			return "it still runs"
		}
		return ""
	})
}

// Eventually waits until problem returns nothing.
func Eventually(t testing.TB, what string, problem func() string) {
	t.Helper()
	eventually.Is(t, Patience, what, problem, "")
}
