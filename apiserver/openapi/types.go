package openapi

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/duetk8s/duet/apiserver/openapi/typeset"
)

// Types converts objects of every embedded kind for server-side apply and managedFields. The types
// are unpacked on first use, all at once: that takes less than a millisecond, so there is nothing
// to gain from doing it by group version. It may be used by several goroutines.
func Types() managedfields.TypeConverter { return converter{} }

type converter struct{}

// ObjectToTyped reads obj by the type of the kind it says it is. The error for a kind that is not
// embedded is the one that field management knows as "this version is gone".
func (converter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	known, err := embeddedTypes()
	if err != nil {
		return nil, err
	}
	name, ok := known.kinds[obj.GetObjectKind().GroupVersionKind()]
	if !ok {
		return known.none.ObjectToTyped(obj, opts...)
	}
	t := typed.ParseableType{Schema: known.schema, TypeRef: smd.TypeRef{NamedType: name}}
	if u, ok := obj.(runtime.Unstructured); ok {
		return t.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	return t.FromStructured(obj, opts...)
}

// TypedToObject returns an unstructured object.
func (converter) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	known, err := embeddedTypes()
	if err != nil {
		return nil, err
	}
	return known.none.TypedToObject(value)
}

type typeIndex struct {
	kinds  map[schema.GroupVersionKind]*string
	schema *smd.Schema
	none   managedfields.TypeConverter // knows no kind
}

var embeddedTypes = sync.OnceValues(func() (*typeIndex, error) {
	none, err := managedfields.NewTypeConverter(nil, false)
	if err != nil {
		return nil, err
	}
	data, err := unpack("types.bin")
	if err != nil {
		return nil, err
	}
	kinds, types, err := typeset.Decode(data)
	if err != nil {
		return nil, err
	}
	index := &typeIndex{kinds: make(map[schema.GroupVersionKind]*string, len(kinds)), schema: types, none: none}
	for gvk, name := range kinds {
		index.kinds[gvk] = &name
	}
	return index, nil
})
