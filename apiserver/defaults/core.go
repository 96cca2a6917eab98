package defaults

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// Namespace labels a Namespace with its own name, so that policies can select it, and calls it
// Active until it is deleted.
func Namespace(n *corev1.Namespace) {
	if n.Name != "" {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[corev1.LabelMetadataName] = n.Name
	}
	fill(&n.Status.Phase, corev1.NamespaceActive)
}

// Secret moves stringData, which is never stored, over data.
func Secret(s *corev1.Secret) {
	fill(&s.Type, corev1.SecretTypeOpaque)
	if s.StringData == nil {
		return
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

// Node keeps podCIDR in step with podCIDRs (D1.7) and lets capacity stand for allocatable.
func Node(n *corev1.Node) {
	same := func(s string) string { return s }
	n.Spec.PodCIDR, n.Spec.PodCIDRs = inStep(n.Spec.PodCIDR, n.Spec.PodCIDRs, same, same)
	milli(n.Status.Capacity)
	milli(n.Status.Allocatable)
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

// Endpoints defaults the protocol of each port.
func Endpoints(e *corev1.Endpoints) { //nolint:staticcheck // served as long as upstream serves it
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			fill(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

// LimitRange derives the defaults of containers: default from max, defaultRequest from default,
// then from min.
func LimitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		item.Default = under(item.Default, item.Max)
		item.DefaultRequest = under(under(item.DefaultRequest, item.Default), item.Min)
	}
}

// under adds to list what it lacks and base has. Like upstream it never returns nil.
func under(list, base corev1.ResourceList) corev1.ResourceList {
	merged := corev1.ResourceList{}
	maps.Copy(merged, base.DeepCopy())
	maps.Copy(merged, list)
	return merged
}
