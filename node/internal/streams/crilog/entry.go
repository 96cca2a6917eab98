package crilog

import (
	"bytes"
	"time"
)

// entry is one line of a file:
//
//	2026-11-22T12:00:00.123456789Z stdout F what the container has printed
//
// P instead of F: the container's line goes on in the stream's next entry.
type entry struct {
	stamp   []byte // as it stands there
	stream  string
	full    bool
	content []byte // without newline
}

// parse reads a line without its newline; ok is false for one that a crash has cut or mixed up.
func parse(line []byte) (e entry, ok bool) {
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return e, false
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return e, false
	}
	tags, content, ok := bytes.Cut(rest, []byte(" "))
	if !ok { // an empty line has been seen without the last space
		tags, content = rest, nil
	}
	tag, _, _ := bytes.Cut(tags, []byte(":")) // further tags are none of ours
	switch string(stream) {
	case Stdout:
		e.stream = Stdout
	case Stderr:
		e.stream = Stderr
	default:
		return e, false
	}
	switch string(tag) {
	case "F":
		e.full = true
	case "P":
	default:
		return e, false
	}
	e.stamp, e.content = stamp, content
	return e, true
}

// before tells whether the entry is older than t.
func (e entry) before(t time.Time) bool {
	if t.IsZero() {
		return false
	}
	stamp, err := time.Parse(time.RFC3339Nano, string(e.stamp))
	return err == nil && stamp.Before(t)
}
