package servicecidr

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// serviceCIDR has the ranges of a list like "10.0.0.0/24,2001:db8::/64"; "" has none.
func serviceCIDR(list string) *networkingv1.ServiceCIDR {
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "new"}}
	if list != "" {
		cidr.Spec.CIDRs = strings.Split(list, ",")
	}
	return cidr
}

// check compares what a user would see, without `... "new" is invalid: `.
func check(t *testing.T, want string, errs field.ErrorList) {
	t.Helper()
	got := ""
	if len(errs) > 0 {
		text := apierrors.NewInvalid(schema.GroupKind{Group: "networking.k8s.io", Kind: "ServiceCIDR"}, "new", errs).Error()
		got = strings.TrimPrefix(text, `ServiceCIDR.networking.k8s.io "new" is invalid: `)
	}
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestB2_Validate(t *testing.T) {
	const (
		badCIDR    = `must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`
		oneFamily  = `may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`
		hostBits   = `must not have bits set beyond the prefix length`
		leading0   = `must not have leading 0s in IP or prefix length`
		v4Mapped   = `must not have an IPv4-mapped IPv6 address`
		at0        = `spec.cidrs[0]: Invalid value: `
		at1        = `spec.cidrs[1]: Invalid value: `
		fourOfTwo  = `10.0.0.0/24,2001:db8::/64,10.2.0.0/24,2001:db8:1::/64`
		threeOfOne = `10.0.0.0/24,10.1.0.0/24,x`
	)
	for _, row := range []struct{ name, cidrs, fault string }{
		{"B2.2 none", ``, `spec.cidrs: Required value: at least one CIDR required`},
		{"B2.3 three", threeOfOne, `spec.cidrs: Invalid value: {"CIDRs":["10.0.0.0/24","10.1.0.0/24","x"]}: may only hold up to 2 values`},
		{"B2.3 four", fourOfTwo, `spec.cidrs: Invalid value: {"CIDRs":["10.0.0.0/24","2001:db8::/64","10.2.0.0/24","2001:db8:1::/64"]}: may only hold up to 2 values`},
		{"B2.4 v4", `10.0.0.0/24`, ``},
		{"B2.4 v6", `2001:db8::/64`, ``},
		{"B2.4 v4+v6", `10.0.0.0/24,2001:db8::/64`, ``},
		{"B2.4 v6+v4", `2001:db8::/64,10.0.0.0/24`, ``},
		{"B2.4 host bits", `10.0.0.1/24`, at0 + `"10.0.0.1/24": ` + hostBits},
		{"B2.4 host bits, v6", `2001:db8::1/64`, at0 + `"2001:db8::1/64": ` + hostBits},
		{"B2.4 capitals", `2001:DB8::/64`, at0 + `"2001:DB8::/64": must be in canonical form ("2001:db8::/64")`},
		{"B2.4 too many zeros", `2001:db8:0::/64`, at0 + `"2001:db8:0::/64": must be in canonical form ("2001:db8::/64")`},
		{"B2.4 leading zero in length", `10.0.0.0/024`, at0 + `"10.0.0.0/024": ` + leading0},
		{"B2.4 leading zero in address", `010.0.0.0/24`, at0 + `"010.0.0.0/24": ` + leading0},
		{"B2.4 v4-mapped", `::ffff:10.0.0.0/120`, at0 + `"::ffff:10.0.0.0/120": ` + v4Mapped},
		{"B2.4 no range", `10.0.0.0`, at0 + `"10.0.0.0": ` + badCIDR},
		{"B2.4 second of two", `10.0.0.0/24,x`, at1 + `"x": ` + badCIDR},
		{"B2.5 v4 twice", `10.0.0.0/24,10.1.0.0/24`, `spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: ` + oneFamily},
		{"B2.5 v6 twice", `2001:db8::/64,2001:db8::/64`, `spec.cidrs: Invalid value: ["2001:db8::/64","2001:db8::/64"]: ` + oneFamily},
		{"B2.4, B2.5", `10.0.0.1/24,10.1.0.0/24`, `[` + at0 + `"10.0.0.1/24": ` + hostBits + `, spec.cidrs: Invalid value: ["10.0.0.1/24","10.1.0.0/24"]: ` + oneFamily + `]`},
		{"B2.6 longest", `10.0.0.1/32,2001:db8::1/128`, ``},
		{"B2.6 shortest", `0.0.0.0/0,::/0`, ``},
		{"B2.6 short", `2001:db8::/32`, ``},
	} {
		t.Run(row.name, func(t *testing.T) {
			check(t, row.fault, Validate(t.Context(), serviceCIDR(row.cidrs), nil))
		})
	}
}

func TestB2_7_Update(t *testing.T) {
	for _, row := range []struct{ name, old, cidrs, fault string }{
		{"same", `10.0.0.0/24`, `10.0.0.0/24`, ``},
		{"same, two", `2001:db8::/64,10.0.0.0/24`, `2001:db8::/64,10.0.0.0/24`, ``},
		{"other", `10.0.0.0/24`, `10.1.0.0/24`, `spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable`},
		{"other spelling", `2001:db8::/64`, `2001:DB8::/64`, `spec.cidrs[0]: Invalid value: "2001:DB8::/64": field is immutable`},
		{
			"other order", `10.0.0.0/24,2001:db8::/64`, `2001:db8::/64,10.0.0.0/24`,
			`[spec.cidrs[0]: Invalid value: "2001:db8::/64": field is immutable, spec.cidrs[1]: Invalid value: "10.0.0.0/24": field is immutable]`,
		},
		{"v4 gets v6", `10.0.0.0/24`, `10.0.0.0/24,2001:db8::/64`, ``},
		{"v6 gets v4", `2001:db8::/64`, `2001:db8::/64,10.0.0.0/24`, ``},
		{"v6 before it", `10.0.0.0/24`, `2001:db8::/64,10.0.0.0/24`, `spec.cidrs[0]: Invalid value: "2001:db8::/64": field is immutable`},
		{
			"second of the same family", `10.0.0.0/24`, `10.0.0.0/24,10.1.0.0/24`,
			`spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`,
		},
		{"second is wrong", `10.0.0.0/24`, `10.0.0.0/24,2001:db8::1/64`, `spec.cidrs[1]: Invalid value: "2001:db8::1/64": must not have bits set beyond the prefix length`},
		{"two to one", `10.0.0.0/24,2001:db8::/64`, `10.0.0.0/24`, `spec.cidrs: Invalid value: ["10.0.0.0/24"]: field is immutable`},
		{
			"two to three", `10.0.0.0/24,2001:db8::/64`, `10.0.0.0/24,2001:db8::/64,10.1.0.0/24`,
			`spec.cidrs: Invalid value: ["10.0.0.0/24","2001:db8::/64","10.1.0.0/24"]: field is immutable`,
		},
		{"one to none", `10.0.0.0/24`, ``, `spec.cidrs: Invalid value: null: field is immutable`},
	} {
		t.Run(row.name, func(t *testing.T) {
			check(t, row.fault, Validate(t.Context(), serviceCIDR(row.cidrs), serviceCIDR(row.old)))
		})
	}
}

func TestB2_1_Name(t *testing.T) {
	const bad = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	for _, row := range []struct {
		name   string
		prefix bool
		want   string
	}{{"new.range", false, ""}, {"new-", true, ""}, {"new-", false, bad}, {"New", false, bad}} {
		if got := strings.Join(Name(row.name, row.prefix), "; "); got != row.want {
			t.Errorf("%q: got %q, want %q", row.name, got, row.want)
		}
	}
}

func TestB8_1_Columns(t *testing.T) {
	usage := func(name string) []Usage {
		if name != "new" {
			t.Errorf("asked for %q", name)
		}
		return []Usage{
			{netip.MustParsePrefix("fd00:10:96::/112"), 3, 65532},
			{netip.MustParsePrefix("10.96.0.0/16"), 12, 65522},
			{netip.MustParsePrefix("2001:db8::/64"), 0, math.MaxUint64},
			{netip.MustParsePrefix("2001:db8:1::/65"), 0, 1<<63 - 1},
			{netip.MustParsePrefix("2001:db8::/32"), 1 << 20, math.MaxUint64},
			{netip.MustParsePrefix("2001:db8::/88"), 5, 1<<40 - 6},
		}
	}
	for _, row := range []struct{ cidrs, ready, want string }{
		{"10.96.0.0/16", "True", "new  10.96.0.0/16  5m  12  65522  True"},
		{"fd00:10:96::/112", "False", "new  fd00:10:96::/112  5m  3  65532  False"},
		{"10.96.0.0/16,fd00:10:96::/112", "", "new  10.96.0.0/16,fd00:10:96::/112  5m  12,3  65522,65532  Unknown"},
		{"fd00:10:96::/112,10.96.0.0/16", "True", "new  fd00:10:96::/112,10.96.0.0/16  5m  3,12  65532,65522  True"},
		{"2001:db8::/64", "True", "new  2001:db8::/64  5m  0  ~2^64  True"},
		{"2001:db8:1::/65", "True", "new  2001:db8:1::/65  5m  0  ~2^63  True"},
		{"2001:db8::/32", "True", "new  2001:db8::/32  5m  1048576  ~2^96  True"},
		{"2001:db8::/88", "True", "new  2001:db8::/88  5m  5  1099511627770  True"},
		{"10.97.0.0/16,fd00:10:96::/112", "True", "new  10.97.0.0/16,fd00:10:96::/112  5m  <unknown>,3  <unknown>,65532  True"},
	} {
		cidr := serviceCIDR(row.cidrs)
		cidr.CreationTimestamp = metav1.NewTime(time.Now().Add(-5 * time.Minute))
		if row.ready != "" {
			cidr.Status.Conditions = []metav1.Condition{{Type: "Other"}, {Type: "Ready", Status: metav1.ConditionStatus(row.ready)}}
		}
		if got := line(Columns(usage).Row(cidr)); got != row.want {
			t.Errorf("got:  %s\nwant: %s", got, row.want)
		}
	}

	columns := Columns(nil)
	if got, want := line(columns.Row(serviceCIDR("10.96.0.0/16"))), "new  10.96.0.0/16  <unknown>  <unknown>  <unknown>  Unknown"; got != want {
		t.Errorf("without usage\ngot:  %s\nwant: %s", got, want)
	}
	header := ""
	for _, column := range columns.Definitions {
		header += fmt.Sprintf("%s/%d ", strings.ToUpper(column.Name), column.Priority)
		if column.Description == "" {
			t.Errorf("%s has no description", column.Name)
		}
	}
	if want := "NAME/0 CIDRS/0 AGE/0 USED/1 FREE/1 READY/1 "; header != want {
		t.Errorf("header: got %s, want %s", header, want)
	}
}

// line is the cells as kubectl prints them, with two spaces between.
func line(cells []any) string {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = fmt.Sprint(cell)
	}
	return strings.Join(texts, "  ")
}

// FuzzServiceCIDR: no list of ranges makes a panic, and what is accepted is canonical.
func FuzzServiceCIDR(f *testing.F) {
	f.Add("10.0.0.0/24,2001:db8::/64", "10.0.0.0/24")
	f.Add("::/129,/", "x")
	f.Add("::ffff:1.2.3.0/120,1.2.3.0/24", "")
	f.Fuzz(func(t *testing.T, cidrs, before string) {
		cidr := serviceCIDR(cidrs)
		for _, old := range []runtime.Object{nil, serviceCIDR(before)} {
			if errs := Validate(t.Context(), cidr, old); len(errs) > 0 || old != nil {
				continue
			}
			for _, text := range cidr.Spec.CIDRs {
				if prefix, err := netip.ParsePrefix(text); err != nil || prefix.Masked().String() != text {
					t.Errorf("accepted %q", text)
				}
			}
		}
		Columns(nil).Row(cidr)
	})
}
