// Package kinds holds the rules of every kind but Service, ServiceCIDR and IPAddress: what is
// prepared before a write, what is refused, what is warned about, which fields can be selected by,
// and how scale maps. It covers the mistakes people make at once; in-depth validation of Pods and
// nodes comes with the components that use them.
//
// Functions are named VerbKind (ValidateSecret) or KindNoun (SecretFields). Validation returns
// every fault, with the field path and text upstream uses. The old object is nil on create. All
// are pure but for the user taken from the context. Package apiserver alone imports it.
package kinds

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// negative is the text for a number below zero.
const negative = "must be greater than or equal to 0"

func nonNegative(value int64, path *field.Path) field.ErrorList {
	if value < 0 {
		return field.ErrorList{field.Invalid(path, value, negative)}
	}
	return nil
}

// optional is nonNegative for a number that may be absent.
func optional[T ~int32 | ~int64](value *T, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return nonNegative(int64(*value), path)
}

// immutable reports a field that differs from the old one.
func immutable(value, old any, path *field.Path) field.ErrorList {
	return validation.ValidateImmutableField(value, old, path)
}

// forbidChange is immutable with a text of its own.
func forbidChange(value, old any, path *field.Path, text string) field.ErrorList {
	if equality.Semantic.DeepEqual(value, old) {
		return nil
	}
	return field.ErrorList{field.Forbidden(path, text)}
}

// oneOf reports a value that is not among those supported, which the message lists sorted (0.3).
func oneOf[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if slices.Contains(supported, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, slices.Sorted(slices.Values(supported)))}
}

// required is oneOf for a field that must be set.
func required[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if len(supported) == 0 {
		return nil
	}
	return oneOf(value, path, supported...)
}

// faults turns messages about one value into errors.
func faults(path *field.Path, value any, messages []string) (errs field.ErrorList) {
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

func dnsLabel(value string, path *field.Path) field.ErrorList {
	return faults(path, value, utilvalidation.IsDNS1123Label(value))
}

func dnsSubdomain(value string, path *field.Path) field.ErrorList {
	return faults(path, value, utilvalidation.IsDNS1123Subdomain(value))
}

func labelSelector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
}

// sorted returns the keys of a map in order, so that errors come in the same order every time.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
