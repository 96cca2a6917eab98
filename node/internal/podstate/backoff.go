package podstate

import "time"

// How long a container that ended waits for its next start, and an image for its next pull:
// doubling, forgotten by a container that ran for longer than twice the longest.
const (
	firstBackoff = 10 * time.Second
	lastBackoff  = 5 * time.Minute
)

// How long a step that failed for another reason waits: most causes are told of when they go.
const (
	firstRetry = time.Second
	lastRetry  = 10 * time.Second
)

// fresh is how long the cause of a failure is shown before the wait that follows it is.
const fresh = 3 * time.Second

// Backoff of a container's restarts. The zero value lets the first restart happen at once.
type Backoff struct {
	// Delay between the end of an instance and the start of the next.
	Delay time.Duration
	// At is when Delay came to be.
	At time.Time
}

// forgotten tells whether an instance that ended then had run long enough.
func (b Backoff) forgotten(ended time.Time) bool {
	return b.Delay == 0 || ended.Sub(b.At) > 2*lastBackoff
}

// until is when an instance that ended then may be followed by the next.
func (b Backoff) until(ended time.Time) time.Time {
	if b.forgotten(ended) {
		return ended
	}
	return ended.Add(b.Delay)
}

// next is the back-off after a restart now of an instance that ended then.
func (b Backoff) next(now, ended time.Time) Backoff {
	if b.forgotten(ended) {
		return Backoff{firstBackoff, now}
	}
	return Backoff{min(2*b.Delay, lastBackoff), now}
}

// doubled is first, doubled for each failure after the first, up to last.
func doubled(first, last time.Duration, count int) time.Duration {
	delay := first
	for range count - 1 {
		if delay *= 2; delay >= last {
			return last
		}
	}
	return delay
}

// retryAt is when a step that failed is tried again.
func (f *Failure) retryAt() time.Time { return f.At.Add(doubled(firstRetry, lastRetry, f.Count)) }

// pullAt is when an image is pulled again.
func (f *Failure) pullAt() time.Time { return f.At.Add(doubled(firstBackoff, lastBackoff, f.Count)) }
