package apiserver

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/duetk8s/duet/apiserver/resource"
)

// scale serves the /scale path of a kind with replicas: the object seen as autoscaling/v1 Scale.
type scale struct {
	store *registry.Store
	row   resource.Resource
}

var (
	_ rest.Patcher                  = scale{}
	_ rest.GroupVersionKindProvider = scale{}
)

func (scale) New() runtime.Object { return &autoscalingv1.Scale{} }
func (scale) Destroy()            {}

// GroupVersionKind is Scale's own, whatever group the object is in.
func (scale) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

func (s scale) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.store.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return s.of(obj), nil
}

// Update sets the replicas; it never creates.
func (s scale) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	obj, _, err := s.store.Update(ctx, name, scaled{s, info}, scaleCreate(s, create), scaleUpdate(s, update), false, o)
	if err != nil {
		return nil, false, err
	}
	return s.of(obj), false, nil
}

func (s scale) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(autoscalingv1.Resource("scales")).ConvertToTable(ctx, obj, options)
}

// of makes the Scale of an object.
func (s scale) of(obj runtime.Object) *autoscalingv1.Scale {
	m := metaOf(obj)
	replicas, selector := s.row.Scale.Status(obj)
	out := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
			ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(),
		},
		Status: autoscalingv1.ScaleStatus{Replicas: replicas, Selector: selector},
	}
	if want := *s.row.Scale.Replicas(obj); want != nil {
		out.Spec.Replicas = *want
	}
	return out
}

// scaled is an update of a Scale as an update of the object behind it.
type scaled struct {
	scale
	info rest.UpdatedObjectInfo
}

func (u scaled) Preconditions() *metav1.Preconditions { return u.info.Preconditions() }

func (u scaled) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	if metaOf(old).GetResourceVersion() == "" {
		return old, nil // not there: the store says so
	}
	was := u.of(old)
	changed, err := u.info.UpdatedObject(ctx, was)
	if err != nil {
		return nil, err
	}
	want, ok := changed.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got %T", changed))
	}
	if want.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), was.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), want.Spec.Replicas, "must be greater than or equal to 0"),
		})
	}
	obj := old.DeepCopyObject()
	*u.row.Scale.Replicas(obj) = &want.Spec.Replicas
	metaOf(obj).SetResourceVersion(want.ResourceVersion)
	return obj, nil
}

// scaleCreate and scaleUpdate show admission the Scale rather than the object.
func scaleCreate(s scale, f rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error { return f(ctx, s.of(obj)) }
}

func scaleUpdate(s scale, f rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error { return f(ctx, s.of(obj), s.of(old)) }
}
