package apiserver

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/apiserver/resource"
)

// table is every kind that is served beside Service, ServiceCIDR and IPAddress, in the order of the
// groups in `kubectl api-resources`. What tells the kinds apart is written in three packages: defaults
// (what a client may omit), kinds (rules) and columns (what `kubectl get` prints).
func table() []resource.Resource {
	return slices.Concat(
		coreRows(), coreDataRows(), coreSupportRows(), coreVolumeRows(), appsRows(), autoscalingRows(),
		batchRows(), certificateRows(), coordinationRows(), discoveryRows(), eventRows(), networkingRows(),
		nodeRows(), policyRows(), rbacRows(), schedulingRows(), storageRows(),
	)
}

// all is the category of `kubectl get all`.
var all = []string{"all"}

// newOf returns an empty object: newOf[corev1.Pod] is a func that returns &corev1.Pod{}.
func newOf[T any, P interface {
	*T
	runtime.Object
}]() runtime.Object {
	return P(new(T))
}

// pathSegment is the name rule of kinds that take any name which fits into a URL, "system:node".
func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// The following turn functions over one Go type into the untyped fields of resource.Resource.
// On create the old object is nil, and so is the old *T.

func defaulting[T runtime.Object](f func(T)) func(runtime.Object) {
	return func(obj runtime.Object) { f(obj.(T)) }
}

func preparing[T runtime.Object](f func(ctx context.Context, obj, old T)) func(context.Context, runtime.Object, runtime.Object) {
	return func(ctx context.Context, obj, old runtime.Object) { f(ctx, obj.(T), orNil[T](old)) }
}

func validating[T runtime.Object](f func(obj, old T) field.ErrorList) func(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return func(_ context.Context, obj, old runtime.Object) field.ErrorList {
		return f(obj.(T), orNil[T](old))
	}
}

func warning[T runtime.Object](f func(obj, old T) []string) func(context.Context, runtime.Object, runtime.Object) []string {
	return func(_ context.Context, obj, old runtime.Object) []string { return f(obj.(T), orNil[T](old)) }
}

func selecting[T runtime.Object](f func(T) fields.Set) func(runtime.Object) fields.Set {
	return func(obj runtime.Object) fields.Set { return f(obj.(T)) }
}

func orNil[T runtime.Object](obj runtime.Object) T {
	typed, _ := obj.(T)
	return typed
}
