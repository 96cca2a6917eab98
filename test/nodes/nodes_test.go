// Package nodes tells what a user does with Pods on a real lab, and what becomes of Pods when parts
// of it die. Every test runs `duet up` with a data directory, a name and a kubeconfig of its own,
// without a way out, and takes all of it away; only processes of that lab are ever killed.
//
// TestStories runs testdata/*.txtar side by side on one lab of two nodes, each story in a namespace
// of its own ($NS). The commands beside those of testscript are in commands_test.go.
package nodes

import (
	"log/slog"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/test/cluster"
)

// TestMain silences client-go, which logs every connection that dies.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// lab is a cluster, and what only the tests of nodes look at.
type lab struct {
	*cluster.Lab
	// commands of its stories beside those that all have.
	commands map[string]func(*testscript.TestScript, bool, []string)
}

func newLab(t *testing.T, flags ...string) *lab {
	t.Helper()
	return &lab{Lab: cluster.New(t, flags...)}
}
