package pods

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"
)

// Binding serves pods/NAME/binding: it gives a Pod its node, once and for ever.
type Binding struct {
	unstored
	// Store keeps the Pods.
	Store *registry.Store
	// Node reads a Node, for the topology labels that its Pods inherit.
	Node func(ctx context.Context, name string) (*corev1.Node, error)
}

// Bindings serves the older path bindings, where the object has the name.
type Bindings struct{ Binding }

var (
	_ rest.NamedCreater                   = Binding{}
	_ rest.Creater                        = Bindings{}
	_ rest.SubresourceObjectMetaPreserver = Binding{}
)

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps uid and resourceVersion: they say
// which Pod is meant.
func (Binding) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// New is an empty Binding.
func (Binding) New() runtime.Object { return &corev1.Binding{} }

// NamespaceScoped says that bindings are in the namespace of their Pod.
func (Bindings) NamespaceScoped() bool { return true }

// GetSingularName is for discovery.
func (Bindings) GetSingularName() string { return "binding" }

// Create binds the Pod that the object names.
func (b Bindings) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	return b.Binding.Create(ctx, obj.(*corev1.Binding).Name, obj, validate, o)
}

// Create binds a Pod. Errors: 404 without such a Pod, 409 if it has a node, is gated, is being
// deleted, or is not the one (uid, resourceVersion) that the Binding means.
func (b Binding) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	binding := obj.(*corev1.Binding)
	if binding.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := checkBinding(binding); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Binding"}, name, errs)
	}
	if validate != nil {
		if err := validate(ctx, binding.DeepCopy()); err != nil {
			return nil, err
		}
	}
	node, err := b.Node(ctx, binding.Target.Name)
	if err != nil && !apierrors.IsNotFound(err) { // upstream too binds to a node that is not there (yet)
		return nil, err
	}
	key, err := b.Store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	preconditions := &storage.Preconditions{}
	if binding.UID != "" {
		preconditions.UID = &binding.UID
	}
	if binding.ResourceVersion != "" {
		preconditions.ResourceVersion = &binding.ResourceVersion
	}
	err = b.Store.Storage.GuaranteedUpdate(ctx, key, &corev1.Pod{}, false, preconditions, storage.SimpleUpdate(func(old runtime.Object) (runtime.Object, error) {
		pod := old.(*corev1.Pod)
		return pod, bind(pod, binding, node, metav1.Now())
	}), len(o.DryRun) > 0, nil)
	if err != nil {
		return nil, conflict(storeerrors.InterpretUpdateError(err, schema.GroupResource{Resource: "pods"}, name), name)
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

// conflict makes 409 of what is no answer of the API yet.
func conflict(err error, name string) error {
	if apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
		return err
	}
	return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, name, err)
}

func checkBinding(b *corev1.Binding) (errs field.ErrorList) {
	path := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(path.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	return errs
}

// topology are the labels of a Node that its Pods inherit, for the downward API.
var topology = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// bind writes the node into the Pod. It does not count as a change of the spec: the generation stays.
func bind(pod *corev1.Pod, b *corev1.Binding, node *corev1.Node, now metav1.Time) error {
	switch {
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %s has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = b.Target.Name
	pod.Annotations = merged(pod.Annotations, b.Annotations)
	if node != nil {
		labels := map[string]string{}
		for _, key := range topology {
			if v, ok := node.Labels[key]; ok {
				labels[key] = v
			}
		}
		pod.Labels = merged(pod.Labels, labels)
	}
	scheduled := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now, ObservedGeneration: pod.Generation,
	}
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			pod.Status.Conditions[i] = scheduled
			return nil
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, scheduled)
	return nil
}

func merged(into, from map[string]string) map[string]string {
	if into == nil && len(from) > 0 {
		into = map[string]string{}
	}
	maps.Copy(into, from)
	return into
}
