package traffic

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/duetk8s/duet/test/cluster"
)

// load is program peer asking somewhere without a pause, from the beginning of a story to its end.
type load struct {
	name    string
	command *exec.Cmd
	stdin   io.Closer
	ended   chan struct{}

	mu       sync.Mutex
	tallies  map[string]tally // by "tcp4 10.96.0.7:80"
	failures []string
}

// tally is what peer/load.go prints of one address.
type tally struct {
	ok, failed int
	gap        string         // the longest between two answers
	by         map[string]int // answers by server
}

// load starts one; mode is load (a connection for each request) or hold (one for all).
func (l *lab) load(t *testing.T, name string, from at, mode string, flags []string, lines ...string) *load {
	t.Helper()
	args := append([]string{mode}, flags...)
	for _, line := range lines {
		args = append(args, strings.Fields(line)...)
	}
	ld := &load{name: name + " (" + mode + ")", command: from.command(t.Context(), args...), ended: make(chan struct{}), tallies: map[string]tally{}}
	out, err := ld.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if ld.stdin, err = ld.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := ld.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ld.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			ld.read(s.Text())
		}
	}()
	ld.goOn(t)
	return ld
}

// read takes "tcp4 10.96.0.7:80 17 ok, 0 failed, longest gap 12ms, p0=9 p1=8", or "! " and a failure.
func (ld *load) read(line string) {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	if text, ok := strings.CutPrefix(line, "! "); ok {
		ld.failures = append(ld.failures, text)
		return
	}
	var network, at string
	tl := tally{by: map[string]int{}}
	head, servers, _ := strings.Cut(line, "longest gap ")
	if _, err := fmt.Sscanf(head, "%s %s %d ok, %d failed,", &network, &at, &tl.ok, &tl.failed); err != nil {
		ld.failures = append(ld.failures, "not understood: "+line)
		return
	}
	tl.gap, servers, _ = strings.Cut(servers, ",")
	for pair := range strings.FieldsSeq(servers) {
		var n int
		who, count, _ := strings.Cut(pair, "=")
		if _, err := fmt.Sscan(count, &n); err == nil {
			tl.by[who] = n
		}
	}
	ld.tallies[network+" "+at] = tl
}

func (ld *load) now() map[string]tally {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	return maps.Clone(ld.tallies)
}

// enough requests to every address that one can speak of a load.
const enough = 20

// goOn waits until that many more requests have been answered at each address.
func (ld *load) goOn(t testing.TB) {
	t.Helper()
	before := ld.now()
	cluster.Eventually(t, "answers for "+ld.name, func() string {
		now := ld.now()
		if len(now) == 0 {
			return "none"
		}
		for line, tl := range now {
			if tl.ok < before[line].ok+enough {
				return fmt.Sprintf("%s: %d more; %s", line, tl.ok-before[line].ok, ld.failed())
			}
		}
		return ""
	})
}

// only waits until no one but these servers answers any more, for a while.
func (ld *load) only(t testing.TB, servers ...string) {
	t.Helper()
	before := ld.now()
	cluster.Eventually(t, fmt.Sprintf("%s answered by %v alone", ld.name, servers), func() string {
		now := ld.now()
		for line, tl := range now {
			for who, n := range tl.by {
				if !slices.Contains(servers, who) && n > before[line].by[who] {
					before = now
					return line + ": " + who + " still answers"
				}
			}
			if tl.ok < before[line].ok+enough {
				return line + ": few answers; " + ld.failed()
			}
		}
		return ""
	})
}

// every waits until each of the servers has answered at each address since.
func (ld *load) every(t testing.TB, servers ...string) {
	t.Helper()
	before := ld.now()
	cluster.Eventually(t, fmt.Sprintf("%s answered by all of %v", ld.name, servers), func() string {
		for line, tl := range ld.now() {
			for _, who := range servers {
				if tl.by[who] <= before[line].by[who] {
					return line + ": none by " + who + "; " + ld.failed()
				}
			}
		}
		return ""
	})
}

// failed are the latest failures, one line each.
func (ld *load) failed() string {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	const few = 12
	before := max(0, len(ld.failures)-few)
	text := strings.Join(ld.failures[before:], "\n")
	if before > 0 {
		text = fmt.Sprintf("%d failures, and\n", before) + text
	}
	return text
}

// losses counts the failures so far.
func (ld *load) losses() int {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	return len(ld.failures)
}

// end stops asking and tells what happened.
func (ld *load) end(t testing.TB) {
	t.Helper()
	_ = ld.stdin.Close()
	<-ld.ended
	if err := ld.command.Wait(); err != nil {
		t.Errorf("%s: %v", ld.name, err)
	}
	for line, tl := range ld.now() {
		t.Logf("%s: %s: %d ok, %d failed, longest gap %s, %v", ld.name, line, tl.ok, tl.failed, tl.gap, tl.by)
	}
}

// loads are all of a story.
type loads []*load

func (all loads) goOn(t testing.TB) {
	t.Helper()
	for _, ld := range all {
		ld.goOn(t)
	}
}

func (all loads) only(t testing.TB, servers ...string) {
	t.Helper()
	for _, ld := range all {
		ld.only(t, servers...)
	}
}

func (all loads) every(t testing.TB, servers ...string) {
	t.Helper()
	for _, ld := range all {
		ld.every(t, servers...)
	}
}

// unharmed ends all of them: not one request may have failed.
func (all loads) unharmed(t testing.TB) {
	t.Helper()
	for _, ld := range all {
		ld.end(t)
		if text := ld.failed(); text != "" {
			t.Errorf("%s: %s", ld.name, text)
		}
	}
}
