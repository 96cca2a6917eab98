// Package typeset writes and reads the types that server-side apply merges by, in a form that is
// read in well under a millisecond: all schemas of all kinds, without descriptions.
//
// Every write of every object needs them (managedFields), the first one while the server starts,
// so parsing OpenAPI there, as GenericAPIServer does, is what this saves.
//
// The form is: the strings, then the kinds with the name of their type, then the types; all
// numbers unsigned varints, all strings by their position in the first part.
package typeset

import (
	"encoding/binary"
	"errors"
	"fmt"

	kubeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Kinds maps each kind to the name of its type.
type Kinds map[kubeschema.GroupVersionKind]string

// What an atom, a reference and a field have, as bits.
const (
	hasScalar = 1 << iota
	hasList
	hasMap
	isNamed
	isNullable
	hasRelationship
	hasDefault
)

// maxDepth bounds how deep types may be nested in each other without a name.
const maxDepth = 32

var (
	errShort = errors.New("typeset: cut short")
	errDeep  = fmt.Errorf("typeset: more than %d types nested in each other", maxDepth)
)

// writer collects strings and the encoded rest apart, because the strings come first.
type writer struct {
	strings []string
	index   map[string]uint64
	body    []byte
	err     error
}

func (w *writer) number(n int) { w.body = binary.AppendUvarint(w.body, uint64(n)) }

func (w *writer) text(s string) {
	i, ok := w.index[s]
	if !ok {
		i = uint64(len(w.strings))
		w.index[s] = i
		w.strings = append(w.strings, s)
	}
	w.body = binary.AppendUvarint(w.body, i)
}

// reader hands out what writer wrote, and remembers the first fault.
type reader struct {
	rest    []byte
	strings []string
	depth   int
	err     error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count reads the length of a list. Each element takes a byte or more, so that no fault can ask
// for more memory than the input has bytes.
func (r *reader) count() int {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// text returns a pointer into the table of strings: equal strings have equal pointers, which
// [schema.Schema] counts on when it caches references.
func (r *reader) text() *string {
	n := r.number()
	if n >= uint64(len(r.strings)) {
		r.fail(fmt.Errorf("typeset: string %d of %d", n, len(r.strings)))
		return new(string)
	}
	return &r.strings[n]
}

func (r *reader) table() {
	lengths := make([]int, r.count())
	total := 0
	for i := range lengths {
		lengths[i] = r.count()
		total += lengths[i]
	}
	if total > len(r.rest) {
		r.fail(errShort)
		return
	}
	all := string(r.rest[:total])
	r.rest = r.rest[total:]
	r.strings = make([]string, len(lengths))
	for i, n := range lengths {
		r.strings[i], all = all[:n], all[n:]
	}
}

func relationship(s *string) *schema.ElementRelationship {
	return (*schema.ElementRelationship)(s)
}
