package crilog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// errLimit: as much has been printed as was asked for.
var errLimit = errors.New("limit reached")

// printer writes entries as people read them.
type printer struct {
	options Options
	out     *bufio.Writer
	left    int64           // bytes that may still be written; negative: any number
	inside  map[string]bool // streams whose last entry was the beginning of a line
}

// print writes an entry if it is wanted. What is no entry is left out.
func (p *printer) print(line []byte) error {
	e, ok := parse(line)
	if !ok || p.options.Stream != "" && p.options.Stream != e.stream || e.before(p.options.Since) {
		return nil
	}
	if p.options.Timestamps && !p.inside[e.stream] {
		if err := p.write(e.stamp, []byte(" ")); err != nil {
			return err
		}
	}
	if p.inside == nil {
		p.inside = map[string]bool{}
	}
	p.inside[e.stream] = !e.full
	if e.full {
		return p.write(e.content, []byte("\n"))
	}
	return p.write(e.content)
}

func (p *printer) write(parts ...[]byte) error {
	for _, b := range parts {
		cut := p.left >= 0 && int64(len(b)) > p.left
		if cut {
			b = b[:p.left]
		}
		if p.left >= 0 {
			p.left -= int64(len(b))
		}
		if _, err := p.out.Write(b); err != nil {
			return err
		}
		if cut || p.left == 0 {
			return errLimit
		}
	}
	return nil
}

// reader reads the complete lines of a file that may grow.
type reader struct {
	file    source
	offset  int64  // of what is to be read next
	pending []byte // the beginning of a line whose end is not there yet
	block   []byte
}

// drain prints all complete lines that there are now.
func (p *printer) drain(ctx context.Context, r *reader) error {
	if r.file.File == nil || r.file.gzipped {
		return nil
	}
	if r.block == nil {
		r.block = make([]byte, 64<<10)
	}
	for ctx.Err() == nil {
		n, err := r.file.ReadAt(r.block, r.offset)
		r.offset += int64(n)
		rest := r.block[:n]
		for {
			line, after, found := bytes.Cut(rest, []byte("\n"))
			if !found {
				break
			}
			if len(r.pending) > 0 {
				line = append(r.pending, line...)
			}
			if err := p.print(line); err != nil {
				return err
			}
			r.pending = r.pending[:0]
			rest = after
		}
		r.pending = append(r.pending, rest...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
	}
	return ctx.Err()
}
