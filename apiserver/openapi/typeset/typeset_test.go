package typeset

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	kubeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

func named(name string) schema.TypeRef { return schema.TypeRef{NamedType: &name} }

func inline(s schema.Scalar) schema.TypeRef {
	return schema.TypeRef{Inlined: schema.Atom{Scalar: &s}}
}

func sample() (Kinds, []schema.TypeDef) {
	nullable := inline(schema.Numeric)
	nullable.Nullable = true
	atomic := named("port")
	atomic.ElementRelationship = new(schema.Atomic)
	kinds := Kinds{
		kubeschema.GroupVersionKind{Group: "g", Version: "v2", Kind: "Web"}: "web",
		kubeschema.GroupVersionKind{Version: "v1", Kind: "Web"}:             "web",
	}
	return kinds, []schema.TypeDef{
		{Name: "web", Atom: schema.Atom{Map: &schema.Map{Fields: []schema.StructField{
			{Name: "host", Type: atomic},
			{Name: "labels", Type: schema.TypeRef{Inlined: schema.Atom{Map: &schema.Map{ElementType: inline(schema.String), ElementRelationship: schema.Separable}}}},
			{Name: "ports", Type: schema.TypeRef{Inlined: schema.Atom{List: &schema.List{
				ElementType: named("port"), ElementRelationship: schema.Associative, Keys: []string{"port", "protocol"},
			}}}},
		}}}},
		{Name: "port", Atom: schema.Atom{Map: &schema.Map{Fields: []schema.StructField{
			{Name: "empty", Type: named("any"), Default: map[string]any{}},
			{Name: "port", Type: nullable, Default: int64(80)},
			{Name: "protocol", Type: inline(schema.String), Default: "TCP"},
		}}}},
		{Name: "any", Atom: schema.Atom{Scalar: new(schema.Untyped), List: &schema.List{ElementType: named("any"), ElementRelationship: schema.Atomic}, Map: &schema.Map{ElementType: named("any")}}},
	}
}

func TestRoundTrip(t *testing.T) {
	kinds, types := sample()
	data, err := Encode(kinds, types)
	if err != nil {
		t.Fatal(err)
	}
	gotKinds, gotTypes, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotKinds, kinds) {
		t.Errorf("kinds %v, want %v", gotKinds, kinds)
	}
	slices.SortFunc(types, func(a, b schema.TypeDef) int { return strings.Compare(a.Name, b.Name) })
	if !reflect.DeepEqual(gotTypes.Types, types) {
		t.Errorf("types %+v, want %+v", gotTypes.Types, types)
	}

	slices.Reverse(types)
	if again, _ := Encode(kinds, types); string(again) != string(data) {
		t.Error("other bytes for another order of the same types")
	}
}

func TestEncodeRefuses(t *testing.T) {
	unions := []schema.TypeDef{{Name: "u", Atom: schema.Atom{Map: &schema.Map{Unions: []schema.Union{{}}}}}}
	if _, err := Encode(nil, unions); err == nil || !strings.Contains(err.Error(), "u: has unions") {
		t.Errorf("error %v", err)
	}
}

func TestDecodeCorrupt(t *testing.T) {
	kinds, types := sample()
	data, err := Encode(kinds, types)
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, _, err := Decode(data[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken", n, len(data))
		}
	}
	if _, _, err := Decode(append(slices.Clone(data), 0)); err == nil {
		t.Error("a byte too many is taken")
	}
	endless := append([]byte{0, 0, 1, 0}, make([]byte, 4*maxDepth)...)
	if _, _, err := Decode(endless); err == nil {
		t.Error("a type without end is taken")
	}
}

// FuzzDecode looks for input that makes Decode panic or take much more memory than it has bytes.
func FuzzDecode(f *testing.F) {
	kinds, types := sample()
	data, err := Encode(kinds, types)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _, _ = Decode(data)
	})
}
