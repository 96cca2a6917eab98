package eventually_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/duetk8s/duet/test/eventually"
)

// audience is a test that takes note of what it fails with.
type audience struct {
	testing.TB
	failed string
}

func (a *audience) Helper() {}

func (a *audience) Fatalf(format string, args ...any) {
	a.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestWait: each waits for as long as it takes, up to its patience, and then says what there is instead.
func TestWait(t *testing.T) {
	looks := 0
	after := func(n int) func() int {
		return func() int { looks++; return min(looks, n) }
	}
	for name, row := range map[string]struct {
		wait func(testing.TB)
		want string
	}{
		"true": {func(a testing.TB) {
			eventually.True(a, time.Minute, "the third look", func() bool { return after(3)() == 3 })
		}, ""},
		"is":         {func(a testing.TB) { eventually.Is(a, time.Minute, "looks", after(3), 3) }, ""},
		"never true": {func(a testing.TB) { eventually.True(a, time.Minute, "the end", func() bool { return false }) }, "not within 1m0s: the end"},
		"never is":   {func(a testing.TB) { eventually.Is(a, time.Minute, "looks", after(3), 4) }, "looks: not within 1m0s; got\n3\nwant\n4"},
	} {
		looks = 0
		a := &audience{}
		synctest.Test(t, func(*testing.T) {
			var group sync.WaitGroup
			group.Go(func() { row.wait(a) })
			group.Wait()
		})
		if a.failed != row.want || row.want == "" && looks != 3 {
			t.Errorf("%s: %q after %d looks, want %q", name, a.failed, looks, row.want)
		}
	}
}
