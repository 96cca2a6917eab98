package apiserver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/errors"
)

// A Namespace is deleted in two steps: DELETE marks it Terminating, and it goes when its own
// finalizers (spec.finalizers, not metadata's) have been removed through the finalize
// subresource by the controller that emptied it.
type namespaces struct{ object }

// newNamespaces makes store wait for spec.finalizers before it drops a Namespace.
func newNamespaces(o object) namespaces {
	o.ShouldDeleteDuringUpdate = func(_ context.Context, _ string, obj, _ runtime.Object) bool {
		return len(obj.(*corev1.Namespace).Spec.Finalizers) == 0
	}
	return namespaces{o}
}

// Delete marks the Namespace as Terminating; one without finalizers is gone at once.
func (n namespaces) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key, err := n.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	preconditions := &storage.Preconditions{}
	if o.Preconditions != nil {
		preconditions.UID, preconditions.ResourceVersion = o.Preconditions.UID, o.Preconditions.ResourceVersion
	}
	mark := func(existing runtime.Object) (runtime.Object, error) {
		if err := validate(ctx, existing); err != nil {
			return nil, err
		}
		ns := existing.(*corev1.Namespace)
		if ns.DeletionTimestamp.IsZero() {
			now := metav1.Now()
			ns.DeletionTimestamp = &now
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		return ns, nil
	}
	ns, dryRun := &corev1.Namespace{}, len(o.DryRun) > 0
	if err := n.Storage.GuaranteedUpdate(ctx, key, ns, false, preconditions, storage.SimpleUpdate(mark), dryRun, nil); err != nil {
		return nil, false, errors.InterpretDeleteError(err, n.DefaultQualifiedResource, name)
	}
	if dryRun || len(ns.Spec.Finalizers) > 0 {
		return ns, false, nil
	}
	return n.Store.Delete(ctx, name, validate, o)
}

// DeleteCollection is not offered for Namespaces, as everywhere: hide the store's.
func (n namespaces) DeleteCollection() {}

// finalize serves namespaces/NAME/finalize: it changes spec.finalizers and nothing else.
type finalize struct{ status }

func newFinalize(of *registry.Store) finalize {
	s := finalizeStrategy{of.UpdateStrategy.(strategy)}
	store := *of
	store.UpdateStrategy, store.ResetFieldsStrategy = s, s
	return finalize{status{store: &store, reset: s}}
}

type finalizeStrategy struct{ strategy }

func (finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	ns, kept := obj.(*corev1.Namespace), old.(*corev1.Namespace).DeepCopy()
	kept.Spec.Finalizers, kept.ResourceVersion, kept.ManagedFields = ns.Spec.Finalizers, ns.ResourceVersion, ns.ManagedFields
	*ns = *kept
}

func (finalizeStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.ValidateObjectMetaAccessorUpdate(metaOf(obj), metaOf(old), field.NewPath("metadata"))
}
