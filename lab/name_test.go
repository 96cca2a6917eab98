package lab

import (
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestHealthSaysWhatFails(t *testing.T) {
	report := "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\nreadyz check failed\n"
	if got, want := failedChecks(report), "etcd failed: reason withheld"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := health(t.Context(), "https://127.0.0.1:1", filepath.Join(t.TempDir(), "ca.crt")); got == http.StatusText(200) || got == "ok" {
		t.Errorf("got %q of a server that is not there", got)
	}
}

func TestNames(t *testing.T) {
	rows := map[string]bool{
		"duet": true, "a": true, "a-1": true, strings.Repeat("x", 40): true,
		"": false, "A": false, "-a": false, "a-": false, "a.b": false, "a/b": false, "..": false, strings.Repeat("x", 41): false,
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if ok := CheckName(name) == nil; ok != rows[name] {
			t.Errorf("name %q: accepted %t, want %t", name, ok, rows[name])
		}
		if got := len(uplinkName(name)); got > 15 {
			t.Errorf("link of %q has %d characters", name, got)
		}
	}
	if _, ok := memberOf("a", "duet-a-net-control"); ok {
		t.Error("a namespace of cluster a-net counts as one of cluster a")
	}
}
