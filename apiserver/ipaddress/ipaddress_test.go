package ipaddress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestB3_1_Name(t *testing.T) {
	const bad = `must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`
	for name, want := range map[string]string{
		"10.96.0.1":         ``,
		"2001:db8::1":       ``,
		"::":                ``,
		"255.255.255.255":   ``, // B3.4
		"fe80::1":           ``, // B3.4
		"2001:DB8::1":       `must be in canonical form ("2001:db8::1")`,
		"0:0::1":            `must be in canonical form ("::1")`,
		"2001:db8:0:0::1":   `must be in canonical form ("2001:db8::1")`,
		"::ffff:1.2.3.4":    `must not be an IPv4-mapped IPv6 address`,
		"010.0.0.1":         `must not have leading 0s`,
		"10.0.0":            bad,
		"10.0.0.0/24":       bad,
		"fe80::1%eth0":      bad,
		"kubernetes":        bad,
		"":                  bad,
		"64:ff9b::1.2.3.4":  `must be in canonical form ("64:ff9b::102:304")`,
		"::ffff:a00:1":      `must not be an IPv4-mapped IPv6 address`,
		"2001:db8::1:0:0:1": ``,
	} {
		for _, prefix := range []bool{false, true} {
			if got := strings.Join(Name(name, prefix), "; "); got != want {
				t.Errorf("%q: got %q, want %q", name, got, want)
			}
		}
	}
}

func ipAddress(parent *networkingv1.ParentReference) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.1"}, Spec: networkingv1.IPAddressSpec{ParentRef: parent}}
}

func TestB3_Validate(t *testing.T) {
	type ref = networkingv1.ParentReference
	const domain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	service := &ref{Resource: "services", Namespace: "default", Name: "kubernetes"}
	for _, row := range []struct {
		name     string
		old, ref *ref
		fault    string
	}{
		{"B3.2 a Service", nil, service, ``},
		{"B3.2 any other object", nil, &ref{Group: "gateway.networking.k8s.io", Resource: "gateways", Name: "a b"}, ``},
		{"B3.2 none", nil, nil, `spec.parentRef: Required value`},
		{"B3.2 empty", nil, &ref{}, `[spec.parentRef.resource: Required value, spec.parentRef.name: Required value]`},
		{"B3.2 group", nil, &ref{Group: "A", Resource: "services", Name: "web"}, `spec.parentRef.group: Invalid value: "A": ` + domain},
		{
			"B3.2 segments", nil, &ref{Resource: "a/b", Name: ".", Namespace: "a%/b"},
			`[spec.parentRef.resource: Invalid value: "a/b": may not contain '/', spec.parentRef.name: Invalid value: ".": may not be '.', spec.parentRef.namespace: Invalid value: "a%/b": may not contain '/', spec.parentRef.namespace: Invalid value: "a%/b": may not contain '%']`,
		},
		{"B3.2 up", nil, &ref{Resource: "services", Name: ".."}, `spec.parentRef.name: Invalid value: "..": may not be '..'`},
		{"B3.3 same", service, service.DeepCopy(), ``},
		{
			"B3.3 other", service, &ref{Resource: "services", Namespace: "default", Name: "web"},
			`spec.parentRef: Invalid value: {"Group":"","Resource":"services","Namespace":"default","Name":"web"}: field is immutable`,
		},
		{"B3.3 unset", service, nil, `spec.parentRef: Invalid value: null: field is immutable`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var old runtime.Object
			if row.old != nil {
				old = ipAddress(row.old)
			}
			got := ""
			if errs := Validate(t.Context(), ipAddress(row.ref), old); len(errs) > 0 {
				text := apierrors.NewInvalid(schema.GroupKind{Group: "networking.k8s.io", Kind: "IPAddress"}, "10.96.0.1", errs).Error()
				got = strings.TrimPrefix(text, `IPAddress.networking.k8s.io "10.96.0.1" is invalid: `)
			}
			if got != row.fault {
				t.Errorf("got:\n%s\nwant:\n%s", got, row.fault)
			}
		})
	}
}

func TestB8_2_Columns(t *testing.T) {
	columns := Columns()
	header := ""
	for _, column := range columns.Definitions {
		header += fmt.Sprintf("%s/%d ", strings.ToUpper(column.Name), column.Priority)
		if column.Description == "" {
			t.Errorf("%s has no description", column.Name)
		}
	}
	if want := "NAME/0 PARENTREF/0 "; header != want {
		t.Errorf("header: got %s, want %s", header, want)
	}
	for _, row := range []struct {
		parent *networkingv1.ParentReference
		want   string
	}{
		{&networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "kubernetes"}, "[10.96.0.1 services/default/kubernetes]"},
		{&networkingv1.ParentReference{Group: "Example.com", Resource: "Things", Name: "One"}, "[10.96.0.1 things.example.com/One]"},
		{nil, "[10.96.0.1 <none>]"},
	} {
		if got := fmt.Sprint(columns.Row(ipAddress(row.parent))); got != row.want {
			t.Errorf("got %s, want %s", got, row.want)
		}
	}
}

// FuzzName: no name makes a panic, and an accepted one is the one spelling of an address.
func FuzzName(f *testing.F) {
	for _, name := range []string{"10.96.0.1", "::ffff:1.2.3.4", "fe80::1%eth0", "01.2.3.4", "2001:DB8::1", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if len(Name(name, false)) > 0 {
			return
		}
		if addr, err := netip.ParseAddr(name); err != nil || addr.String() != name || addr.Is4In6() || addr.Zone() != "" {
			t.Errorf("accepted %q", name)
		}
	})
}
