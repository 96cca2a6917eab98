package crilog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
)

// tail finds where the last n lines begin: in which of the files, and where in it. A line that was
// printed in parts counts once; an unfinished one at the end counts.
func tail(files []source, n int64, stream string) (first int, offset int64, err error) {
	c := &counter{wanted: n, stream: stream}
	for i, s := range slices.Backward(files) {

		switch {
		case s.File == nil:
			continue
		case s.gzipped:
			offset, err = c.gzipped(s)
		default:
			offset, err = c.backwards(s)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read the log %s: %w", s.Name(), err)
		}
		if c.done {
			return i, offset, nil
		}
	}
	return 0, 0, nil
}

// counter counts lines from the end of a log.
type counter struct {
	wanted int64
	stream string
	seen   int64 // ends of lines
	begun  bool  // the last entry of all has been looked at
	done   bool  // what comes after the entry last looked at is what is wanted
}

// entry looks at one entry, the later ones having been looked at.
func (c *counter) entry(line []byte) {
	e, ok := parse(line)
	if !ok || c.stream != "" && c.stream != e.stream {
		return
	}
	if !c.begun {
		c.begun = true
		if !e.full {
			c.seen++ // an unfinished line
		}
	}
	if e.full {
		c.seen++
	}
	c.done = c.seen > c.wanted
}

// backwards reads a file from its end and returns where the wanted lines begin.
func (c *counter) backwards(s source) (int64, error) {
	info, err := s.Stat()
	if err != nil {
		return 0, err
	}
	const size = 64 << 10
	end := info.Size() // of the part not read yet
	if c.wanted == 0 {
		c.done = true
		return c.complete(s, end)
	}
	var carry []byte // the part of a line that was found at the beginning of the last block
	first := true
	for end > 0 {
		start := max(0, end-size)
		data := make([]byte, end-start, int(end-start)+len(carry))
		if _, err := s.ReadAt(data, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		data = append(data, carry...)
		if first { // what has no end yet is no entry yet
			data = data[:bytes.LastIndexByte(data, '\n')+1]
			first = len(data) == 0
		}
		for len(data) > 0 {
			body := bytes.TrimSuffix(data, []byte("\n"))
			at := bytes.LastIndexByte(body, '\n') + 1
			if at == 0 && start > 0 {
				break // begins in the block before
			}
			if c.entry(body[at:]); c.done {
				return start + int64(len(data)), nil
			}
			data = data[:at]
		}
		carry, end = data, start
	}
	return 0, nil
}

// complete returns where the last complete line ends.
func (c *counter) complete(s source, size int64) (int64, error) {
	const most = 64 << 10
	start := max(0, size-most)
	data := make([]byte, size-start)
	if _, err := s.ReadAt(data, start); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return start + int64(bytes.LastIndexByte(data, '\n')+1), nil
}

// gzipped reads a file that can only be read forwards: once for its lines' ends, which it keeps.
func (c *counter) gzipped(s source) (int64, error) {
	z, err := gzip.NewReader(s)
	if err != nil {
		return 0, err
	}
	type line struct {
		end  int64
		data []byte
	}
	var lines []line
	var at int64
	for r := bufio.NewReader(z); ; {
		data, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		at += int64(len(data))
		lines = append(lines, line{at, data[:min(len(data)-1, 64)]}) // the beginning says what it is
	}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	for _, line := range slices.Backward(lines) {
		if c.entry(line.data); c.done {
			return line.end, nil
		}
	}
	return 0, nil
}
