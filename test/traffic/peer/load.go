package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally is what became of the requests to one address.
type tally struct {
	mu     sync.Mutex
	ok     int
	failed int
	last   time.Time     // an answer came
	gap    time.Duration // the longest between two answers
	by     map[string]int
	news   []string // failures not printed yet
}

func (t *tally) add(began time.Time, said string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if err != nil {
		t.failed++
		t.news = append(t.news, fmt.Sprintf("%s after %s: %v", now.Format("15:04:05.000"), now.Sub(began).Round(time.Millisecond), err))
		return
	}
	if t.ok++; t.ok > 1 {
		t.gap = max(t.gap, now.Sub(t.last))
	}
	t.last = now
	who, _, _ := strings.Cut(said, " ")
	t.by[who]++
}

// String is "17 ok, 0 failed, longest gap 12ms, p0=9 p1=8", and the failures in lines of their own.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out strings.Builder
	fmt.Fprintf(&out, "%d ok, %d failed, longest gap %s,", t.ok, t.failed, t.gap.Round(time.Millisecond))
	for _, who := range slices.Sorted(maps.Keys(t.by)) {
		fmt.Fprintf(&out, " %s=%d", who, t.by[who])
	}
	for _, text := range t.news {
		fmt.Fprintf(&out, "\n! %s", text)
	}
	t.news = nil
	return out.String()
}

const (
	pause = 5 * time.Millisecond
	tell  = 100 * time.Millisecond
)

// slow is how long to wait for an answer.
var slow time.Duration

// ask loads pairs of a network and an address until the input ends, and prints a line for each of
// them again and again: "tcp4 10.96.0.7:80 17 ok, …".
func ask(pairs []string, load func(network, at string, t *tally, end <-chan struct{})) {
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	var all sync.WaitGroup
	tallies := make([]tally, len(pairs)/2)
	for i := range tallies {
		tallies[i].by = map[string]int{}
		all.Go(func() { load(pairs[2*i], pairs[2*i+1], &tallies[i], end) })
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for ticker := time.NewTicker(tell); ; {
		select {
		case <-ticker.C:
		case <-done:
			ticker.Stop()
		}
		for i := range tallies {
			fmt.Println(pairs[2*i], pairs[2*i+1], &tallies[i])
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// once makes a connection for each request.
func once(network, at string, t *tally, end <-chan struct{}) {
	for {
		began := time.Now()
		said, err := call(network, at, slow)
		t.add(began, said, err)
		select {
		case <-end:
			return
		case <-time.After(pause):
		}
	}
}

// hold makes all requests on one connection, and another one only when that has failed.
func hold(network, at string, t *tally, end <-chan struct{}) {
	var c net.Conn
	for {
		began := time.Now()
		var err error
		if c == nil {
			c, err = net.DialTimeout(network, at, slow)
		}
		var said string
		if err == nil {
			said, err = exchange(c, slow)
		}
		t.add(began, said, err)
		if err != nil && c != nil {
			c.Close()
			c = nil
		}
		select {
		case <-end:
			return
		case <-time.After(pause):
		}
	}
}
