package background_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/duetk8s/duet/test/background"
)

// log is what happened, in order.
type log []string

func (l *log) StartWithContext(context.Context) { *l = append(*l, "informers start") }
func (l *log) Shutdown()                        { *l = append(*l, "informers end") }

// audience is a test that takes note of failures.
type audience struct {
	testing.TB
	failures int
}

func (a *audience) Errorf(string, ...any) { a.failures++ }

// TestRun: the component ends before its informers, once, with the test or when told to; its error is
// the test's.
func TestRun(t *testing.T) {
	for name, row := range map[string]struct {
		end      error
		stop     bool
		failures int
	}{"ends with the test": {}, "is stopped": {stop: true}, "fails": {end: errors.New("broken"), failures: 1}} {
		var l log
		a := &audience{}
		t.Run(name, func(t *testing.T) {
			a.TB = t
			stop := background.Run(a, &l, func(ctx context.Context) error {
				<-ctx.Done()
				l = append(l, "run ends")
				return row.end
			})
			if row.stop {
				stop()
			}
		})
		if got := strings.Join(l, ", "); got != "informers start, run ends, informers end" || a.failures != row.failures {
			t.Errorf("%s: %s; %d failures", name, got, a.failures)
		}
	}
}
