package apiserver

import (
	"testing"
	"time"
)

func TestStrokes(t *testing.T) {
	s := newStrokes()
	for _, row := range []struct {
		now, timer, want time.Duration
	}{
		{0, 100 * time.Millisecond, 100 * time.Millisecond}, // somebody waits
		{20 * time.Millisecond, 999 * time.Millisecond, 999 * time.Millisecond},
		{0, time.Second, time.Second},
		{1, time.Second, 1500*time.Millisecond - 1},
		{400 * time.Millisecond, 1250 * time.Millisecond, 1600 * time.Millisecond},
		{250 * time.Millisecond, 1250 * time.Millisecond, 1250 * time.Millisecond},
		{time.Hour + 7*time.Millisecond, 15 * time.Second, 15493 * time.Millisecond},
	} {
		if got := s.until(row.timer, s.begun.Add(row.now)); got != row.want {
			t.Errorf("at %v, a timer of %v runs for %v, want %v", row.now, row.timer, got, row.want)
		}
	}
}
