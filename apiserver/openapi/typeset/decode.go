package typeset

import (
	"fmt"

	kubeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Decode reads what [Encode] wrote. Its error says what is wrong with the input; no input makes
// it panic.
func Decode(data []byte) (Kinds, *schema.Schema, error) {
	r := &reader{rest: data}
	r.table()
	kinds := make(Kinds)
	for range r.count() {
		gvk := kubeschema.GroupVersionKind{Group: *r.text(), Version: *r.text(), Kind: *r.text()}
		kinds[gvk] = *r.text()
	}
	types := &schema.Schema{Types: make([]schema.TypeDef, r.count())}
	for i := range types.Types {
		types.Types[i] = schema.TypeDef{Name: *r.text(), Atom: r.atom()}
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Errorf("typeset: %d bytes too many", len(r.rest)))
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	return kinds, types, nil
}

func (r *reader) atom() (a schema.Atom) {
	if r.depth++; r.depth > maxDepth {
		r.fail(errDeep)
	}
	defer func() { r.depth-- }()

	bits := r.number()
	if bits&hasScalar != 0 {
		a.Scalar = (*schema.Scalar)(r.text())
	}
	if bits&hasList != 0 {
		a.List = r.list()
	}
	if bits&hasMap != 0 {
		a.Map = r.fields()
	}
	return a
}

func (r *reader) list() *schema.List {
	l := &schema.List{ElementType: r.ref(), ElementRelationship: *relationship(r.text())}
	if n := r.count(); n > 0 {
		l.Keys = make([]string, n)
		for i := range l.Keys {
			l.Keys[i] = *r.text()
		}
	}
	return l
}

func (r *reader) fields() *schema.Map {
	m := &schema.Map{}
	if n := r.count(); n > 0 {
		m.Fields = make([]schema.StructField, n)
		for i := range m.Fields {
			m.Fields[i] = r.field()
		}
	}
	m.ElementType = r.ref()
	m.ElementRelationship = *relationship(r.text())
	return m
}

func (r *reader) ref() (t schema.TypeRef) {
	bits := r.number()
	t.Nullable = bits&isNullable != 0
	if bits&hasRelationship != 0 {
		t.ElementRelationship = relationship(r.text())
	}
	if bits&isNamed != 0 {
		t.NamedType = r.text()
		return t
	}
	t.Inlined = r.atom()
	return t
}

func (r *reader) field() schema.StructField {
	f := schema.StructField{Name: *r.text(), Type: r.ref()}
	if r.number()&hasDefault == 0 {
		return f
	}
	// This json reads whole numbers as int64, as a field's value is read.
	if err := json.Unmarshal([]byte(*r.text()), &f.Default); err != nil {
		r.fail(fmt.Errorf("typeset: default of %s: %w", f.Name, err))
	}
	return f
}
