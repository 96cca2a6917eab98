package typeset

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	kubeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Encode writes kinds and types, the same bytes for the same input in any order. Unions are
// refused: Kubernetes has none.
func Encode(kinds Kinds, types []schema.TypeDef) ([]byte, error) {
	w := &writer{index: map[string]uint64{}}
	w.number(len(kinds))
	for _, gvk := range slices.SortedFunc(maps.Keys(kinds), compareKinds) {
		w.text(gvk.Group)
		w.text(gvk.Version)
		w.text(gvk.Kind)
		w.text(kinds[gvk])
	}
	types = slices.SortedFunc(slices.Values(types), func(a, b schema.TypeDef) int { return cmp.Compare(a.Name, b.Name) })
	w.number(len(types))
	for _, t := range types {
		w.text(t.Name)
		w.atom(t.Atom)
		if w.err != nil {
			return nil, fmt.Errorf("typeset: %s: %w", t.Name, w.err)
		}
	}

	out := binary.AppendUvarint(nil, uint64(len(w.strings)))
	for _, s := range w.strings {
		out = binary.AppendUvarint(out, uint64(len(s)))
	}
	for _, s := range w.strings {
		out = append(out, s...)
	}
	return append(out, w.body...), nil
}

func (w *writer) atom(a schema.Atom) {
	w.number(atomBits(a))
	if a.Scalar != nil {
		w.text(string(*a.Scalar))
	}
	if l := a.List; l != nil {
		w.ref(l.ElementType)
		w.text(string(l.ElementRelationship))
		w.number(len(l.Keys))
		for _, key := range l.Keys {
			w.text(key)
		}
	}
	if m := a.Map; m != nil {
		if len(m.Unions) > 0 {
			w.err = errors.New("has unions")
		}
		fields := slices.SortedFunc(slices.Values(m.Fields), func(a, b schema.StructField) int { return cmp.Compare(a.Name, b.Name) })
		w.number(len(fields))
		for _, field := range fields {
			w.field(field)
		}
		w.ref(m.ElementType)
		w.text(string(m.ElementRelationship))
	}
}

func (w *writer) ref(r schema.TypeRef) {
	bits := atomBits(r.Inlined)
	if r.NamedType != nil {
		bits = isNamed
	}
	if r.Nullable {
		bits |= isNullable
	}
	if r.ElementRelationship != nil {
		bits |= hasRelationship
	}
	w.number(bits)
	if r.ElementRelationship != nil {
		w.text(string(*r.ElementRelationship))
	}
	if r.NamedType != nil {
		w.text(*r.NamedType)
		return
	}
	w.atom(r.Inlined)
}

func (w *writer) field(f schema.StructField) {
	w.text(f.Name)
	w.ref(f.Type)
	if f.Default == nil {
		w.number(0)
		return
	}
	value, err := json.Marshal(f.Default)
	if err != nil {
		w.err = fmt.Errorf("default of %s: %w", f.Name, err)
	}
	w.number(hasDefault)
	w.text(string(value))
}

func atomBits(a schema.Atom) (bits int) {
	if a.Scalar != nil {
		bits |= hasScalar
	}
	if a.List != nil {
		bits |= hasList
	}
	if a.Map != nil {
		bits |= hasMap
	}
	return bits
}

func compareKinds(a, b kubeschema.GroupVersionKind) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
}
