package apiserver

import (
	"time"

	"k8s.io/utils/clock"
)

// strokes is a clock whose timers of a second or more end at its strokes, every half second. Each
// watch cache looks about once a second whether a bookmark is due; with forty caches, each at a moment
// of its own, that was most of what a server did at rest.
//
// A bookmark is due two seconds before a watch ends, and the caches' timers run for up to 1.25 s: a
// half more is still in time.
type strokes struct {
	clock.RealClock
	begun time.Time
}

const (
	stroke    = 500 * time.Millisecond
	unhurried = time.Second
)

func newStrokes() strokes { return strokes{begun: time.Now()} }

// NewTimer returns a timer that ends at the first stroke after d.
func (s strokes) NewTimer(d time.Duration) clock.Timer {
	return strokeTimer{s.RealClock.NewTimer(s.until(d, time.Now())), s}
}

// until returns how long it is from now until the first stroke that is not before d.
func (s strokes) until(d time.Duration, now time.Time) time.Duration {
	if d < unhurried {
		return d
	}
	if past := (now.Sub(s.begun) + d) % stroke; past > 0 {
		d += stroke - past
	}
	return d
}

type strokeTimer struct {
	clock.Timer
	strokes strokes
}

// Reset is as of clock.Timer.
func (t strokeTimer) Reset(d time.Duration) bool {
	return t.Timer.Reset(t.strokes.until(d, time.Now()))
}
