// Package eventually has a test wait for what comes by itself and tells nobody: it looks again and again, and
// the test fails when that has been in vain for too long. Where there is a channel, receive from it
// instead. Only tests import it.
//
// Concurrency: for the goroutine of the test.
package eventually

import (
	"testing"
	"time"
)

// True waits until ok is; what says what then is so: "the node is Ready".
func True(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if !wait(limit, ok) {
		t.Fatalf("not within %v: %s", limit, what)
	}
}

// Is waits until got returns want; what says of what it tells: "conditions of the Node".
func Is[T comparable](t testing.TB, limit time.Duration, what string, got func() T, want T) {
	t.Helper()
	var last T
	if !wait(limit, func() bool { last = got(); return last == want }) {
		t.Fatalf("%s: not within %v; got\n%v\nwant\n%v", what, limit, last, want)
	}
}

// wait looks less and less often: after 1 ms, 2 ms and so on, in the end 20 times a second.
func wait(limit time.Duration, ok func() bool) bool {
	end := time.Now().Add(limit)
	for pause := time.Millisecond; !ok(); pause = min(pause+time.Millisecond, 50*time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}
