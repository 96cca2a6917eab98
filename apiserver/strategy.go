package apiserver

import (
	"context"
	"reflect"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/duetk8s/duet/apiserver/resource"
)

// strategy turns one row of the table into what the generic registry asks: which fields a writer
// may touch, which are kept, and whether the result is valid.
//
// The rules common to all kinds live here, by reflection on the fields ObjectMeta, Spec and
// Status: a create drops the status, an update of the object keeps the old status, an update of
// the status keeps everything else, and the generation counts changes of anything but metadata
// and status.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	resource.Resource
}

var (
	_ rest.RESTCreateStrategy              = strategy{}
	_ rest.RESTUpdateStrategy              = strategy{}
	_ rest.RESTDeleteStrategy              = strategy{}
	_ rest.GarbageCollectionDeleteStrategy = strategy{}
)

func (s strategy) NamespaceScoped() bool                       { return !s.ClusterScoped }
func (s strategy) AllowCreateOnUpdate(context.Context) bool    { return s.CreateOnUpdate }
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }
func (strategy) Canonicalize(runtime.Object)                   {}

// DefaultGarbageCollectionPolicy is background deletion for every kind, as everywhere since apps/v1.
func (strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.DeleteDependents
}

// PrepareForCreate drops the status and starts the generation.
func (s strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	if !s.NoStatus {
		clearField(obj, "Status")
	}
	if s.Generation {
		metaOf(obj).SetGeneration(1)
	}
	if s.Prepare != nil {
		s.Prepare(ctx, obj, nil)
	}
}

// PrepareForUpdate keeps the old status and counts the generation up if anything else changed.
func (s strategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	if !s.NoStatus {
		copyField(obj, old, "Status")
	}
	if s.Prepare != nil {
		s.Prepare(ctx, obj, old)
	}
	if s.Generation && !sameButMetaAndStatus(obj, old) {
		metaOf(obj).SetGeneration(metaOf(old).GetGeneration() + 1)
	}
}

// Validate reports faults of the metadata and then those the row finds.
func (s strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessor(metaOf(obj), s.NamespaceScoped(), s.name, field.NewPath("metadata"))
	if s.Resource.Validate != nil {
		errs = append(errs, s.Resource.Validate(ctx, obj, nil)...)
	}
	return someOf(errs)
}

// ValidateUpdate is Validate for a change.
func (s strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessorUpdate(metaOf(obj), metaOf(old), field.NewPath("metadata"))
	if s.Resource.Validate != nil {
		errs = append(errs, s.Resource.Validate(ctx, obj, old)...)
	}
	return someOf(errs)
}

func (s strategy) name(name string, prefix bool) []string {
	if s.Name == nil {
		return validation.NameIsDNSSubdomain(name, prefix)
	}
	return s.Name(name, prefix)
}

// WarningsOnCreate returns what becomes Warning headers.
func (s strategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	if s.Warnings == nil {
		return nil
	}
	return s.Warnings(ctx, obj, nil)
}

// WarningsOnUpdate returns what becomes Warning headers.
func (s strategy) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	if s.Warnings == nil {
		return nil
	}
	return s.Warnings(ctx, obj, old)
}

// GetResetFields names what a server-side apply of the object cannot own: its status.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if s.NoStatus {
		return nil
	}
	return s.reset(fieldpath.MakePathOrDie("status"))
}

func (s strategy) reset(paths ...fieldpath.Path) map[fieldpath.APIVersion]*fieldpath.Set {
	sets := map[fieldpath.APIVersion]*fieldpath.Set{}
	for _, v := range versionsOf(s.Resource) {
		gv := fieldpath.APIVersion(v)
		if s.Group != "" {
			gv = fieldpath.APIVersion(s.Group + "/" + v)
		}
		sets[gv] = fieldpath.NewSet(paths...)
	}
	return sets
}

// statusStrategy is strategy for the status subresource: everything but the status stays.
type statusStrategy struct{ strategy }

// PrepareForUpdate keeps spec and metadata but for managed fields: who may write a status may not
// let go of what a finalizer holds.
func (s statusStrategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	s.keepAllButStatus(obj, old)
	if s.PrepareStatus != nil {
		s.PrepareStatus(ctx, obj, old)
	}
}

func (statusStrategy) keepAllButStatus(obj, old runtime.Object) {
	status := reflect.ValueOf(obj).Elem().FieldByName("Status").Interface()
	m := metaOf(obj)
	kept := old.DeepCopyObject()
	metaOf(kept).SetManagedFields(m.GetManagedFields())
	metaOf(kept).SetResourceVersion(m.GetResourceVersion())
	reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(kept).Elem())
	reflect.ValueOf(obj).Elem().FieldByName("Status").Set(reflect.ValueOf(status))
}

// ValidateUpdate checks the metadata and what the row says of statuses.
func (s statusStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessorUpdate(metaOf(obj), metaOf(old), field.NewPath("metadata"))
	if s.ValidateStatus != nil {
		errs = append(errs, s.ValidateStatus(ctx, obj, old)...)
	}
	return someOf(errs)
}

// WarningsOnUpdate returns nothing: a status is written by controllers.
func (statusStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// AllowCreateOnUpdate is false: a status belongs to an object.
func (statusStrategy) AllowCreateOnUpdate(context.Context) bool { return false }

// GetResetFields names what a server-side apply of the status cannot own: the rest.
func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	paths := []fieldpath.Path{fieldpath.MakePathOrDie("spec")}
	for _, name := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
		paths = append(paths, fieldpath.MakePathOrDie("metadata", name))
	}
	return s.reset(paths...)
}

func metaOf(obj runtime.Object) metav1.Object {
	m, err := meta.Accessor(obj)
	if err != nil {
		panic(err) // every row of the table has ObjectMeta
	}
	return m
}

func clearField(obj runtime.Object, name string) {
	if f := reflect.ValueOf(obj).Elem().FieldByName(name); f.IsValid() {
		f.SetZero()
	}
}

func copyField(obj, from runtime.Object, name string) {
	if f := reflect.ValueOf(obj).Elem().FieldByName(name); f.IsValid() {
		f.Set(reflect.ValueOf(from).Elem().FieldByName(name))
	}
}

// sameButMetaAndStatus compares all fields of two objects but TypeMeta, ObjectMeta and Status.
func sameButMetaAndStatus(a, b runtime.Object) bool {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		switch va.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
		default:
			if !apiequality.Semantic.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
				return false
			}
		}
	}
	return true
}
