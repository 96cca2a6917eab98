package servicecidr

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/duetk8s/duet/apiserver/resource"
)

// Usage is how full one range of a ServiceCIDR is.
type Usage struct {
	Prefix netip.Prefix
	// Used and Free count addresses that a Service can have (B6.2). Free may be the largest uint64
	// for want of a larger one: an IPv6 /48 has 2^80.
	Used, Free uint64
}

// Columns are what `kubectl get servicecidrs` prints (B8.1), and with -o wide how full each range
// is, which upstream does not tell:
//
//	NAME        CIDRS                            AGE  USED  FREE          READY
//	kubernetes  10.96.0.0/16,fd00:10:96::/112    5m   12,3  65522,65532   True
//	wide        2001:db8::/64                    1m   0     ~2^64         True
//
// USED and FREE have one number for each of the CIDRS, in their order, and not the sum: a
// Service needs an address of a certain family, so 2^64 free ones in the second range must not
// hide that the first one is full.
//
// usage returns the ranges of the named ServiceCIDR in any order, nothing for one it does not
// know (yet); the cell is then "<unknown>". It may be nil, and is called once for each row.
func Columns(usage func(name string) []Usage) *resource.Columns {
	metaDoc, specDoc := metav1.ObjectMeta{}.SwaggerDoc(), networkingv1.ServiceCIDRSpec{}.SwaggerDoc()
	return &resource.Columns{
		Definitions: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: metaDoc["name"]},
			{Name: "CIDRs", Type: "string", Description: specDoc["cidrs"]},
			{Name: "Age", Type: "string", Description: metaDoc["creationTimestamp"]},
			{Name: "Used", Type: "string", Priority: 1, Description: "Addresses held by Services, for each of the CIDRs."},
			{Name: "Free", Type: "string", Priority: 1, Description: "Addresses a Service could still get, for each of the CIDRs."},
			{Name: "Ready", Type: "string", Priority: 1, Description: "Status of the Ready condition."},
		},
		Row: func(obj runtime.Object) []any {
			cidr := obj.(*networkingv1.ServiceCIDR)
			var ranges []Usage
			if usage != nil {
				ranges = usage(cidr.Name)
			}
			used, free := usageCells(cidr.Spec.CIDRs, ranges)
			return []any{
				cidr.Name,
				strings.Join(cidr.Spec.CIDRs, ","),
				metatable.ConvertToHumanReadableDateType(cidr.CreationTimestamp),
				used,
				free,
				readyCell(cidr.Status.Conditions),
			}
		},
	}
}

// usageCells has the numbers of each of cidrs, comma joined.
func usageCells(cidrs []string, ranges []Usage) (used, free string) {
	const unknown = "<unknown>"
	var usedOf, freeOf []string
	for _, cidr := range cidrs {
		i := slices.IndexFunc(ranges, func(usage Usage) bool { return usage.Prefix.String() == cidr })
		if i < 0 {
			usedOf, freeOf = append(usedOf, unknown), append(freeOf, unknown)
			continue
		}
		usedOf, freeOf = append(usedOf, strconv.FormatUint(ranges[i].Used, 10)), append(freeOf, freeCell(ranges[i]))
	}
	return strings.Join(usedOf, ","), strings.Join(freeOf, ",")
}

// freeCell is exact below 2^40, thirteen digits; beyond that only the magnitude says anything.
func freeCell(usage Usage) string {
	if usage.Free < 1<<40 {
		return strconv.FormatUint(usage.Free, 10)
	}
	magnitude := usage.Prefix.Addr().BitLen() - usage.Prefix.Bits()
	if magnitude <= 64 {
		magnitude = int(math.Round(math.Log2(float64(usage.Free))))
	}
	return fmt.Sprintf("~2^%d", magnitude)
}

// readyCell is the status of the condition; one that nobody has set is as good as ready to the
// allocator (B5.10), but has not been said.
func readyCell(conditions []metav1.Condition) string {
	if ready := meta.FindStatusCondition(conditions, networkingv1.ServiceCIDRConditionReady); ready != nil {
		return string(ready.Status)
	}
	return string(metav1.ConditionUnknown)
}
