package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestRefresh(t *testing.T) {
	m, f := newManager(t)
	pod := podOf(t, "volumes: [{name: v, configMap: {name: settings}}, {name: e, emptyDir: {}}]")
	paths, err := m.Setup(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	dir := paths["v"].Dir
	version := func() string {
		link, err := os.Readlink(filepath.Join(dir, dataLink))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	refresh := func() {
		t.Helper()
		if next, err := m.Refresh(t.Context(), pod); err != nil || !next.IsZero() {
			t.Fatal(next, err)
		}
	}
	first := version()
	if refresh(); version() != first {
		t.Error("written again though nothing had changed")
	}
	f.configMaps["settings"] = &corev1.ConfigMap{Data: map[string]string{"a": "10", "c": "3"}}
	refresh()
	if got, want := tree(t, dir), ". drwxrwxrwx 0:0\na -rw-r--r-- 0:0 \"10\"\nc -rw-r--r-- 0:0 \"3\""; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 { // ..data, where it leads, a, c
		t.Errorf("left behind: %v %v", entries, err)
	}
	delete(f.configMaps, "settings")
	if _, err := m.Refresh(t.Context(), pod); err == nil || version() == first {
		t.Error("no error of a ConfigMap that is gone")
	}
	if got := tree(t, dir); !strings.Contains(got, `"10"`) {
		t.Errorf("content is gone after an error:\n%s", got)
	}
}

// Whoever reads through ..data sees files of one version alone, whenever they look.
func TestRefreshIsAtomic(t *testing.T) {
	m, f := newManager(t)
	pod := podOf(t, "volumes: [{name: v, configMap: {name: settings}}]")
	set := func(i int) {
		text := fmt.Sprint(i)
		f.configMaps["settings"] = &corev1.ConfigMap{Data: map[string]string{"a": text, "b": text}}
	}
	set(0)
	paths, err := m.Setup(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	torn := make(chan string, 1)
	go func() {
		defer close(torn)
		for {
			select {
			case <-done:
				return
			default:
			}
			fd, err := os.OpenRoot(filepath.Join(paths["v"].Dir, dataLink))
			if err != nil {
				continue // swept between the lookup of the link and of what it leads to
			}
			a, errA := fd.ReadFile("a")
			b, errB := fd.ReadFile("b")
			fd.Close()
			if errA == nil && errB == nil && string(a) != string(b) {
				torn <- fmt.Sprintf("a is %s and b is %s", a, b)
				return
			}
		}
	}()
	for i := range 200 {
		set(i)
		if _, err := m.Refresh(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	if text := <-torn; text != "" {
		t.Error(text)
	}
}

func TestTokens(t *testing.T) {
	m, f := newManager(t)
	pod := podOf(t, "{serviceAccountName: robot, volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token, audience: vault}}]}}]}")
	paths, err := m.Setup(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"prod/robot [vault] for pod web u1"}; !slices.Equal(f.requests, want) {
		t.Errorf("asked for %q", f.requests)
	}
	start := f.clock.Now()
	for _, tt := range []struct {
		name       string
		after      time.Duration
		err        error
		token      string
		next, fail bool
	}{
		{name: "not due", after: 47 * time.Minute, token: "token-1"},
		{name: "server away, still good", after: 50 * time.Minute, err: errors.New("away"), token: "token-1"},
		{name: "due", after: 51 * time.Minute, token: "token-2"},
		{name: "server away, too late", after: 3 * time.Hour, err: errors.New("away"), token: "token-2", fail: true},
		{name: "server back", after: 4 * time.Hour, token: "token-3"},
	} {
		f.clock.SetTime(start.Add(tt.after))
		f.err = tt.err
		next, err := m.Refresh(t.Context(), pod)
		if (err != nil) != tt.fail || !next.After(f.clock.Now()) {
			t.Errorf("%s: next %s, %v", tt.name, next, err)
		}
		if got, err := os.ReadFile(filepath.Join(paths["v"].Dir, "token")); err != nil || string(got) != tt.token {
			t.Errorf("%s: got %s, want %s (%v)", tt.name, got, tt.token, err)
		}
	}
	f.lifetime = 365 * 24 * time.Hour
	f.clock.Step(2 * time.Hour)
	if next, _ := m.Refresh(t.Context(), pod); next.Sub(f.clock.Now()) != maxTokenAge {
		t.Errorf("a long one is due after %s", next.Sub(f.clock.Now()))
	}
}
