// Package nodes tells what a user does with Pods on a real lab, and what becomes of Pods when parts
// of it die. Every test runs `duet up` with a data directory, a name and a kubeconfig of its own,
// without a way out, and takes all of it away; only processes of that lab are ever killed.
//
// TestStories runs testdata/*.txtar side by side on one lab of two nodes, each story in a namespace
// of its own ($NS). The commands beside those of testscript are in commands_test.go.
//
// The program is bin/duet, or what $DUET names; the images are those of `make images`. Both come
// from `make test`. Without root, or without one of them, the tests skip themselves.
package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	patience = 90 * time.Second // for what takes a second or two on an idle machine
	glance   = 50 * time.Millisecond
)

// TestMain silences client-go, which logs every connection that dies.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// lab is a cluster that `duet up` made.
type lab struct {
	name, dir, kubeconfig, home string
	client                      kubernetes.Interface
	// commands of stories beside those that all have.
	commands map[string]func(*testscript.TestScript, bool, []string)
}

var labs atomic.Int32

// newLab brings a cluster up with the images of the tests in it.
func newLab(t *testing.T, flags ...string) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("clusters need root")
	}
	l := newName(t)
	archives := []string{"../../build/images/busybox-1.28.tar", "../../build/images/nginx.tar"}
	for _, file := range archives {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%v: run `make images`", err)
		}
	}
	t.Cleanup(func() { l.down(t) })
	l.up(t, flags...)
	l.must(t, append([]string{"image", "load", "--name", l.name, "--data-dir", l.dir}, archives...)...)
	return l
}

// newName is a lab that is not up yet.
func newName(t *testing.T) *lab {
	t.Helper()
	base := t.TempDir()
	return &lab{
		name: fmt.Sprintf("t%d-%d", os.Getpid(), labs.Add(1)),
		dir:  filepath.Join(base, "data"), kubeconfig: filepath.Join(base, "kubeconfig"), home: base,
	}
}

// up makes or resumes the cluster.
func (l *lab) up(t *testing.T, flags ...string) {
	t.Helper()
	args := []string{"up", "--name", l.name, "--data-dir", l.dir, "--kubeconfig", l.kubeconfig, "--uplink=false"}
	l.must(t, append(args, flags...)...)
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if l.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
}

// down removes the cluster; a test that failed says what its logs complain about first.
func (l *lab) down(t *testing.T) {
	t.Helper()
	if t.Failed() {
		l.complaints(t)
	}
	l.must(t, "down", "--name", l.name, "--data-dir", l.dir)
}

func (l *lab) complaints(t *testing.T) {
	_ = filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Base(filepath.Dir(path)) != "logs" || !strings.HasSuffix(path, ".log") {
			return nil //nolint:nilerr // what is not there says nothing
		}
		text, _ := os.ReadFile(path)
		lines := strings.Split(string(text), "\n")
		t.Logf("== %s\n%s", path, strings.Join(lines[max(0, len(lines)-25):], "\n"))
		return nil
	})
}

// run runs the program and returns what it said.
func (l *lab) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program(), args...)
	c.Env = append(os.Environ(), "HOME="+l.home, "KUBECONFIG="+l.kubeconfig)
	out, err := c.CombinedOutput()
	return string(out), err
}

func (l *lab) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := l.run(args...)
	if err != nil {
		t.Fatalf("duet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func program() string {
	name := os.Getenv("DUET")
	if name == "" {
		name = "../../bin/duet"
	}
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// kill ends a part of the lab at once and returns when it has gone.
func (l *lab) kill(t *testing.T, what part, node string) {
	t.Helper()
	pid := l.pid(what, node)
	if pid == 0 {
		t.Fatalf("no %s of %s", what, l.name)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, fmt.Sprintf("the end of the %s", what), func() string {
		if at := l.pid(what, node); at == pid {
			return "it still runs"
		}
		return ""
	})
}

// eventually waits until problem returns nothing.
func eventually(t *testing.T, what string, problem func() string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(glance) {
		text := problem()
		if text == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waiting for %s: %s", what, text)
		}
	}
}

// ready waits until the Pods are and returns them.
func (l *lab) ready(t *testing.T, names ...string) []*corev1.Pod {
	t.Helper()
	var pods []*corev1.Pod
	for _, name := range names {
		eventually(t, name+" Ready", func() string {
			pod, err := l.client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
			switch {
			case err != nil:
				return err.Error()
			case !isReady(pod):
				return shown(&pod.Status)
			}
			pods = append(pods, pod)
			return ""
		})
	}
	return pods
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// shown is a status as a person reads it.
func shown(status *corev1.PodStatus) string {
	text, err := json.MarshalIndent(status, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
