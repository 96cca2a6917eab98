// Package service says what a valid Service is and how one is shown: static defaults, wiping of
// fields that a change of type made meaningless, validation, warnings, columns. Rule ids (A1.3,
// A5.12, ...) are those of the behaviour specification, sections 0 and A.
//
// It decides nothing about addresses and node ports: package clusterip plans them before Prepare
// and Validate run, so what is checked here about families and cluster IPs is a second line of
// defence (A4, A6.6) that a correct plan never trips.
//
// Every exported function fits a field of resource.Resource. All are pure: no I/O, no clock but
// for the AGE cell, no state. Only package apiserver imports this one.
//
//	resource.Resource{
//		Kind: "Service", Plural: "services", Short: []string{"svc"}, Categories: []string{"all"},
//		CreateOnUpdate: true, // A6.7
//		Name: service.Name, Default: service.Default, Prepare: service.Prepare,
//		Validate: service.Validate, ValidateStatus: service.ValidateStatus,
//		Warnings: service.Warnings, Columns: service.Columns(), Fields: service.Fields,
//	}
package service

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Name checks metadata.name on create: an RFC 1123 label, so it may start with a digit (A5.1).
func Name(name string, prefix bool) []string {
	return apivalidation.NameIsDNSLabel(name, prefix)
}

// Default fills what a client may omit (A1.1-A1.9). It is idempotent and runs on every decode.
func Default(obj runtime.Object) {
	setDefaults(obj.(*corev1.Service))
}

// Prepare wipes, on update, fields that the new type has no use for, if the client left them as
// they were (A6.4). On create there is nothing to wipe.
func Prepare(_ context.Context, obj, old runtime.Object) {
	if old != nil {
		wipe(obj.(*corev1.Service), old.(*corev1.Service))
	}
}

// Validate reports every fault of a new (old is nil) or updated Service (A4, A5, A6.6), in
// upstream's order. Name and metadata are checked elsewhere.
func Validate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validate(obj.(*corev1.Service), service(old))
}

// ValidateStatus reports every fault of a written status (A10).
func ValidateStatus(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validateStatus(obj.(*corev1.Service), service(old))
}

// Warnings says what of a valid Service has no effect, is deprecated or oddly spelt (A5.21, 0.10).
func Warnings(_ context.Context, obj, _ runtime.Object) []string {
	return warnings(obj.(*corev1.Service))
}

// StatusWarnings is Warnings for a write of the status subresource (0.10).
func StatusWarnings(_ context.Context, obj, _ runtime.Object) []string {
	return statusWarnings(obj.(*corev1.Service))
}

// Fields are the field selectors of a Service beside its name and namespace (A1.11).
func Fields(obj runtime.Object) fields.Set {
	svc := obj.(*corev1.Service)
	return fields.Set{
		"spec.clusterIP": svc.Spec.ClusterIP,
		"spec.type":      string(svc.Spec.Type),
	}
}

// service is obj as a Service, nil if there is none.
func service(obj runtime.Object) *corev1.Service {
	if obj == nil {
		return nil
	}
	return obj.(*corev1.Service)
}
