package assemble

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// The heap is collected when it has grown by half, so that 18,000 Services fit in 300 MB, but not
// before so many bytes of garbage: an empty cluster's heap is small, and collecting it after every
// hundred requests would take a quarter of the server's processor. A node's agent has little to do,
// and there are many of them on one machine.
const (
	growthPercent = 50
	serverGarbage = 48 << 20
	agentGarbage  = 8 << 20
)

// settleAfter is how long after its start, or after garbage was collected, a server or agent is taken
// to have done what there was to do.
const settleAfter = 3 * time.Second

// tune sets when garbage is collected, after each collection anew: not before there are so many
// bytes of it. GOGC in the environment says otherwise.
//
// Concurrency: the runtime calls it back from a goroutine of its own.
func tune(garbage uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(collectAt(liveHeap(), garbage))
	afterCollection(func() { tune(garbage) })
}

// collectAt returns the growth in percent at which a heap is to be collected, which is not before
// there are so many bytes of garbage.
func collectAt(live, garbage uint64) int {
	return max(growthPercent, int(garbage*100/max(live, 4<<20)))
}

// liveHeap is what the last collection left.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// afterCollection has f called when garbage was collected next: it makes some that is found then.
func afterCollection(f func()) {
	canary := new([16]byte) // large enough not to share its block with anything that lives on
	runtime.AddCleanup(canary, func(f func()) { f() }, f)
}

// settle gives back to the system what only a start or a burst of work needed: garbage, and the pages
// of the program itself that were touched meanwhile. It does so when nothing was collected for a
// while, if this process has grown by so many bytes since it did so last.
func settle(ctx context.Context, worth int64) {
	settler{settleAfter, worth, resident, func() {
		debug.FreeOSMemory()
		if err := unmapProgram(); err != nil {
			klog.FromContext(ctx).V(2).Info("Cannot give back pages of the program", "err", err)
		}
	}}.run(ctx)
}

type settler struct {
	after    time.Duration
	worth    int64
	resident func() int64
	giveBack func()
}

func (s settler) run(ctx context.Context) {
	collected := make(chan struct{}, 1)
	var watch func()
	watch = func() {
		if ctx.Err() != nil {
			return
		}
		select {
		case collected <- struct{}{}:
		default:
		}
		afterCollection(watch)
	}
	watch()
	quiet := time.NewTimer(s.after)
	defer quiet.Stop()
	least := int64(math.MinInt64 / 2) // the first time, all is worth it
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
			quiet.Reset(s.after)
		case <-quiet.C:
			now := s.resident()
			if now-least > s.worth {
				s.giveBack()
				now = s.resident()
				least = now
			}
			least = min(least, now)
		}
	}
}

// resident is how many bytes of this process are in memory.
func resident() int64 {
	data, _ := os.ReadFile("/proc/self/statm")
	var size, pages int64
	_, _ = fmt.Sscan(string(data), &size, &pages) // zeros where there is no such file
	return pages * int64(os.Getpagesize())
}

// unmapProgram has the kernel forget which pages of the program this process has touched. They stay
// in the page cache; those that are needed again are mapped again, one short fault each.
//
// Only what is exactly as in the file: a mapping with pages of its own would lose them.
func unmapProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	var from, to uintptr
	for line := range strings.Lines(string(data)) {
		// 00400000-02cd8000 r-xp 00000000 00:2e 4711    /usr/bin/duet
		// Anonymous:             0 kB
		fields := strings.Fields(line)
		switch {
		case !strings.HasSuffix(fields[0], ":"):
			from, to = 0, 0
			if len(fields) == 6 && fields[5] == program && fields[1][1] == '-' {
				if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
					return err
				}
			}
		case fields[0] == "Anonymous:" && fields[1] == "0" && from != 0:
			if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
				return errno
			}
		}
	}
	return nil
}
