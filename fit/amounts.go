package fit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Amounts of resources: CPU in thousandths, all else in its unit.
type Amounts map[corev1.ResourceName]int64

// AmountsOf a list.
func AmountsOf(list corev1.ResourceList) Amounts {
	out := make(Amounts, len(list))
	for name, q := range list {
		if name == corev1.ResourceCPU {
			out[name] = q.MilliValue()
		} else {
			out[name] = q.Value()
		}
	}
	return out
}

// Add adds b as often as sign says.
func (a Amounts) Add(b Amounts, sign int64) {
	for name, v := range b {
		a[name] += sign * v
	}
}

// Quantity is how the API writes one of them.
func (a Amounts) Quantity(name corev1.ResourceName) resource.Quantity {
	if name == corev1.ResourceCPU {
		return *resource.NewMilliQuantity(a[name], resource.DecimalSI)
	}
	return *resource.NewQuantity(a[name], resource.BinarySI)
}
