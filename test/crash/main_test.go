package crash

import (
	"log/slog"
	"os"
	"testing"

	"k8s.io/klog/v2"
)

// TestMain silences client-go, which logs every connection that dies.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}
