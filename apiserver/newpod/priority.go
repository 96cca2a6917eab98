package newpod

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
)

// Priority gives a new Pod the number of its PriorityClass, or of the class that is the default, or 0.
// Of the classes it sees to it that only one is the default and those of the system stay.
type Priority struct {
	Classes schedulinglisters.PriorityClassLister
	// Get asks for a class that is too new for Classes.
	Get func(ctx context.Context, name string) (*schedulingv1.PriorityClass, error)
}

var (
	_ admission.MutationInterface   = Priority{}
	_ admission.ValidationInterface = Priority{}
)

// Handles tells that all writes are of interest but those through a stream.
func (Priority) Handles(op admission.Operation) bool { return op != admission.Connect }

// Admit fills in priority and preemption policy, and refuses others than the class has. Later they
// are what they were, also for who replaces a Pod with what he wrote at first.
func (p Priority) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if old, ok := a.GetOldObject().(*corev1.Pod); ok && a.GetOperation() == admission.Update && a.GetSubresource() == "" {
		if pod, ok := a.GetObject().(*corev1.Pod); ok {
			keep(&pod.Spec.Priority, old.Spec.Priority)
			keep(&pod.Spec.PreemptionPolicy, old.Spec.PreemptionPolicy)
		}
		return nil
	}
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	class, err := p.class(ctx, pod.Spec.PriorityClassName)
	if apierrors.IsNotFound(err) {
		return admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
	}
	if err != nil {
		return err
	}
	if pod.Spec.PriorityClassName == "" {
		pod.Spec.PriorityClassName = class.Name
	}
	if given := pod.Spec.Priority; given != nil && *given != class.Value {
		return admission.NewForbidden(a, fmt.Errorf(
			"the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *given, class.Value))
	}
	pod.Spec.Priority = &class.Value
	policy := corev1.PreemptLowerPriority
	if class.PreemptionPolicy != nil {
		policy = *class.PreemptionPolicy
	}
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != policy {
		return admission.NewForbidden(a, fmt.Errorf(
			"the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *given, policy))
	}
	pod.Spec.PreemptionPolicy = &policy
	return nil
}

// keep fills in what was there before.
func keep[T any](now **T, before *T) {
	if *now == nil && before != nil {
		value := *before
		*now = &value
	}
}

// Validate refuses a second default class, and the end of a class of the system.
func (p Priority) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if r := a.GetResource(); r.Group != schedulingv1.GroupName || r.Resource != "priorityclasses" || a.GetSubresource() != "" {
		return nil
	}
	if a.GetOperation() == admission.Delete {
		if old, ok := a.GetOldObject().(*schedulingv1.PriorityClass); ok && strings.HasPrefix(old.Name, systemPrefix) {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), old.Name, errors.New("this is a system priority class and cannot be deleted"))
		}
		return nil
	}
	class, ok := a.GetObject().(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault {
		return nil
	}
	all, err := p.Classes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list PriorityClasses: %w", err)
	}
	for _, other := range all {
		if other.GlobalDefault && other.Name != class.Name {
			return admission.NewForbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
		}
	}
	return nil
}

// systemPrefix begins the names of the system's classes, and no others.
const systemPrefix = "system-"

// class finds the class; a copy, without a name if there is none.
func (p Priority) class(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	if name != "" {
		if class, err := p.Classes.Get(name); err == nil {
			return class.DeepCopy(), nil
		}
		return p.Get(ctx, name)
	}
	all, err := p.Classes.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list PriorityClasses: %w", err)
	}
	chosen := &schedulingv1.PriorityClass{}
	for _, class := range all { // of several defaults the lowest counts
		if class.GlobalDefault && (chosen.Name == "" || class.Value < chosen.Value) {
			chosen = class
		}
	}
	return chosen.DeepCopy(), nil
}
