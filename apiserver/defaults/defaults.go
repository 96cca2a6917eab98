// Package defaults fills what a client may leave out of every kind but Service, ServiceCIDR and
// IPAddress. It runs on every decode, so each function is idempotent and never replaces a value
// that is set; a value that is present but empty counts as set only where upstream says so.
//
// Each exported function is named after its kind. It holds figures, no rules: whether the result
// is valid is for package kinds to say. Package apiserver alone imports it.
package defaults

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// fill sets a zero value.
func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// point sets a nil pointer.
func point[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// milli rounds quantities up to the thousandth, the finest the API keeps.
func milli(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(resource.Milli)
		list[name] = q
	}
}
