package network

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

// fakeHost is a machine that remembers what it was given.
type fakeHost struct {
	mu      sync.Mutex
	bridge  hostnet.Bridge
	routes  []hostnet.Route
	table   *hostnet.Table
	tables  int
	fail    error // of the next SetRoutes
	changed func()
	taken   func() // somebody else has changed the table
}

func (h *fakeHost) Read() (hostnet.State, error) { return hostnet.State{}, nil }
func (h *fakeHost) Forward() error               { return nil }
func (h *fakeHost) TranslateInBridges() error    { return nil }

func (h *fakeHost) Watch(ctx context.Context, changed func()) error {
	h.mu.Lock()
	h.changed = changed
	h.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (h *fakeHost) WatchTable(ctx context.Context, changed func()) error {
	h.mu.Lock()
	h.taken = changed
	h.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (h *fakeHost) SetBridge(b hostnet.Bridge) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bridge = b
	return nil
}

func (h *fakeHost) SetRoutes(r []hostnet.Route) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.fail
	h.fail = nil
	h.routes = r
	return err
}

func (h *fakeHost) SetTable(t hostnet.Table) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.table = &t
	h.tables++
	return nil
}

func (h *fakeHost) RemoveTable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.table = nil
	return nil
}

func (h *fakeHost) read(fn func(*fakeHost) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fn(h)
}

// A machine that was started anew has the configuration of before, and nothing else yet.
func TestAwait(t *testing.T) {
	client := fake.NewClientset(node("a 10.244.0.0/24 172.30.0.3"), node("b 10.244.1.0/24 172.30.0.4"))
	factory := informers.NewSharedInformerFactory(client, 0)
	dir, host := t.TempDir(), &fakeHost{}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{NodeName: "a", Nodes: factory.Core().V1().Nodes().Informer(), ConfDir: dir, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, nil, n.Run)
	time.AfterFunc(50*time.Millisecond, func() { factory.StartWithContext(t.Context()) }) // later than a Pod could start
	n.Await(t.Context())
	if !host.read(func(h *fakeHost) bool { return len(h.routes) == 1 && h.table != nil }) {
		t.Error("Pods may start without routes")
	}
}

func TestRun(t *testing.T) {
	ctx := t.Context()
	client := fake.NewClientset(node("a - 172.30.0.3"), node("b 10.244.1.0/24 172.30.0.4"))
	factory := informers.NewSharedInformerFactory(client, 0)
	dir, host := filepath.Join(t.TempDir(), "conf.d"), &fakeHost{fail: errors.New("no")}
	n, err := New(Config{NodeName: "a", Nodes: factory.Core().V1().Nodes().Informer(), ConfDir: dir, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	stop := background.Run(t, factory, n.Run)
	file := filepath.Join(dir, ConfigFile)
	exists := func() bool { _, err := os.Stat(file); return err == nil }
	put := func(text string) {
		t.Helper()
		if _, err := client.CoreV1().Nodes().Update(ctx, node(text), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	eventually.True(t, 10*time.Second, "the directory", func() bool { _, err := os.Stat(dir); return err == nil })
	if exists() {
		t.Error("a configuration without a range")
	}
	put("a 10.244.0.0/24 172.30.0.3")
	eventually.True(t, 10*time.Second, "the configuration, although a route failed at first", exists)
	eventually.True(t, 10*time.Second, "a route", func() bool { return host.read(func(h *fakeHost) bool { return len(h.routes) == 1 && h.table != nil }) })

	put("b 10.244.1.0/24 172.30.0.5")
	eventually.True(t, 10*time.Second, "the other node's new address", func() bool {
		return host.read(func(h *fakeHost) bool { return h.routes[0].Via.String() == "172.30.0.5" })
	})
	n.SetHostPorts([]hostnet.HostPort{{Port: 80}})
	eventually.True(t, 10*time.Second, "the host port", func() bool { return host.read(func(h *fakeHost) bool { return len(h.table.Ports) == 1 }) })
	_ = os.Remove(file)
	eventually.True(t, 10*time.Second, "the configuration again", exists)

	// Somebody else's configuration wins, and ours comes back when it goes.
	foreign := filepath.Join(dir, "05-mine.conf")
	if err := os.WriteFile(foreign, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, 10*time.Second, "ours withdrawn", func() bool {
		return !exists() && host.read(func(h *fakeHost) bool { return len(h.routes) == 0 && h.table == nil })
	})
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, 10*time.Second, "ours back", func() bool { return exists() && host.read(func(h *fakeHost) bool { return h.table != nil }) })

	// What changes nothing writes no table.
	tables := host.tables
	for range 5 {
		host.changed()
	}
	beat := node("b 10.244.1.0/24 172.30.0.5")
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	if _, err := client.CoreV1().Nodes().Update(ctx, beat, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if !host.read(func(h *fakeHost) bool { return h.tables == tables }) {
		t.Error("the table was written again although nothing had changed")
	}
	host.taken()
	eventually.True(t, 10*time.Second, "the table again", func() bool { return host.read(func(h *fakeHost) bool { return h.tables == tables+1 }) })
	stop()
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if !slices.Equal(left, []string{file}) {
		t.Errorf("left in the directory: %v", left)
	}
}
