package clusterip

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A4, 0.7: coupling of clusterIP and clusterIPs, as the client reads it. A want with "=" is the
// resulting clusterIPs.
func TestA4_Coupling(t *testing.T) {
	const refused = `Service "web" is invalid: `
	stored := service(withIPs("10.96.7.7", "fd00:10:96::7"), withPolicy("RequireDualStack"), withFamilies("IPv4", "IPv6"))
	ips := func(ip string, ips ...string) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Spec.ClusterIP, svc.Spec.ClusterIPs = ip, ips }
	}
	for _, tt := range []struct {
		name string
		svc  *corev1.Service
		old  *corev1.Service
		want string
	}{
		{"A4.1 clusterIP alone", service(ips("10.96.1.1")), nil, "= 10.96.1.1"},
		{
			"A4.1 clusterIPs alone", service(ips("", "10.96.1.1")), nil,
			refused + "spec.clusterIPs: Invalid value: [\"10.96.1.1\"]: must be empty when `clusterIP` is not specified",
		},
		{
			"A4.2 differ", service(ips("10.96.1.1", "10.96.1.2")), nil,
			refused + "spec.clusterIPs: Invalid value: [\"10.96.1.2\"]: first value must match `clusterIP`",
		},
		{
			"A4.3 None and more", service(ips("None", "None", "10.96.1.1")), nil,
			refused + `spec.clusterIPs: Invalid value: ["None","10.96.1.1"]: 'None' must be the first and only value`,
		},
		{
			"A4.3 None second", service(ips("10.96.1.1", "10.96.1.1", "None")), nil,
			refused + `spec.clusterIPs[1]: Invalid value: "None": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		},
		{
			"A4.3 empty entry", service(ips("10.96.1.1", "10.96.1.1", "")), nil,
			refused + `spec.clusterIPs[1]: Invalid value: "": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		},
		{
			"A4.4 three", service(ips("10.96.1.1", "10.96.1.1", "fd00:10:96::1", "10.96.1.2")), nil,
			refused + `spec.clusterIPs: Invalid value: ["10.96.1.1","fd00:10:96::1","10.96.1.2"]: may only hold up to 2 values`,
		},
		{
			"A4.4 one family", service(ips("10.96.1.1", "10.96.1.1", "10.96.1.2")), nil,
			refused + `spec.clusterIPs: Invalid value: ["10.96.1.1","10.96.1.2"]: may specify no more than one IP for each IP family`,
		},
		{"A4.5 list omitted", service(ips("10.96.7.7")), stored, "= 10.96.7.7,fd00:10:96::7"},
		{"A4.5 both omitted", service(), stored, "= 10.96.7.7,fd00:10:96::7"},
		{"A4.5 cleared", service(ips("", "10.96.7.7", "fd00:10:96::7")), stored, "= 10.96.7.7,fd00:10:96::7"},
		{"A4.5 changed", service(ips("10.96.9.9", "10.96.7.7", "fd00:10:96::7"), withPolicy("SingleStack")), stored, "= 10.96.9.9"},
		{
			"A4.6 no noise", service(ips("x", "x", "10.96.1.2"), withFamilies("IPv6", "IPv6")), nil,
			refused + `[spec.ipFamilies[1]: Duplicate value: "IPv6", spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)]`,
		},
		{
			"A5.11 family", service(withFamilies("IPv5"), withIPs("10.96.1.1")), nil,
			refused + `spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"`,
		},
		{
			"A5.11 policy", service(withPolicy("Dual")), nil,
			refused + `spec.ipFamilyPolicy: Unsupported value: "Dual": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"`,
		},
		{
			"0.7 leading zeros", service(ips("10.96.001.1")), nil,
			refused + `spec.clusterIPs[0]: Invalid value: "10.96.001.1": must not have leading 0s`,
		},
		{
			"0.7 mapped", service(ips("::ffff:10.96.1.1")), nil,
			refused + `spec.clusterIPs[0]: Invalid value: "::ffff:10.96.1.1": must not be an IPv4-mapped IPv6 address`,
		},
		{"0.9 not canonical", service(ips("FD00:10:96:0::1")), nil, "= FD00:10:96:0::1"},
		{
			"Vf", service(ips("10.96.1.1"), withFamilies("IPv6")), nil,
			refused + "spec.clusterIPs[0]: Invalid value: \"10.96.1.1\": expected an IPv6 value as indicated by `ipFamilies[0]`",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestSpace("10.96.0.0/16,fd00:10:96::/112")
			take(s, 2, stored)
			got := ""
			if err := s.Plan(tt.svc, tt.old); err != nil {
				got = err.Error()
			} else {
				got = "= " + strings.Join(tt.svc.Spec.ClusterIPs, ",")
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// E1 to E7, byte for byte; the values are rendered as 0.2 says.
func TestA3_Messages(t *testing.T) {
	for _, tt := range []struct {
		flag string
		svc  *corev1.Service
		want string
	}{
		{
			"10.96.0.0/16", service(withIPs("10.96.1.1", "fd00::1")),
			`[spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified, ` +
				`spec.clusterIPs[1]: Invalid value: ["10.96.1.1","fd00::1"]: IPv6 is not configured on this cluster]`,
		},
		{
			"10.96.0.0/16", service(withFamilies("IPv6"), withPolicy("RequireDualStack")),
			`[spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services, ` +
				`spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster]`,
		},
		{
			"10.96.0.0/16,fd00::/112", service(withFamilies("IPv6", "IPv4")),
			`spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified`,
		},
	} {
		err := newTestSpace(tt.flag).Plan(tt.svc, nil)
		if want := `Service "web" is invalid: ` + tt.want; err == nil || err.Error() != want {
			t.Errorf("got\n%v\nwant\n%s", err, want)
		}
	}
}

// A7, A8.2: what an address cannot be had for. A8 means that a dry run says the same.
func TestA7_Messages(t *testing.T) {
	const refused = `Service "web" is invalid: spec.clusterIPs: Invalid value: `
	const notInRange = ": the provided network does not match the current range"
	dual := withPolicy("RequireDualStack")
	for _, tt := range []struct {
		name string
		svc  *corev1.Service
		want string
	}{
		{
			"A7.1", service(withIPs("10.96.0.9")),
			refused + `["10.96.0.9"]: failed to allocate IP 10.96.0.9: provided IP is already allocated`,
		},
		{
			"A7.1 another spelling", service(withIPs("FD00:0::9")),
			refused + `["FD00:0::9"]: failed to allocate IP FD00:0::9: provided IP is already allocated`,
		},
		{"A7.2 no range", service(withIPs("10.97.0.9")), refused + `["10.97.0.9"]: failed to allocate IP 10.97.0.9` + notInRange},
		{"A7.2 network", service(withIPs("10.96.0.0")), refused + `["10.96.0.0"]: failed to allocate IP 10.96.0.0` + notInRange},
		{"A7.2 broadcast", service(withIPs("10.96.0.31")), refused + `["10.96.0.31"]: failed to allocate IP 10.96.0.31` + notInRange},
		{"A7.2 not ready", service(withIPs("10.98.0.5")), refused + `["10.98.0.5"]: failed to allocate IP 10.98.0.5` + notInRange},
		{
			"A7.7 gap", service(withIPs("10.96.0.9"), dual),
			refused + `["10.96.0.9",""]: failed to allocate IP 10.96.0.9: provided IP is already allocated`,
		},
		{
			"A7.7 second", service(withIPs("10.96.0.8", "fd00::9"), dual),
			refused + `["10.96.0.8","fd00::9"]: failed to allocate IP fd00::9: provided IP is already allocated`,
		},
		{
			"A7.9", service(func(svc *corev1.Service) { svc.Name = "" }),
			`Service "" is invalid: metadata.name: Required value: name or generateName is required`,
		},
		{"B6.9 static band", service(withIPs("10.96.0.1")), ""},
		{"B6.2 last of IPv6", service(withIPs("fd00::1f")), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestSpace("10.96.0.0/27,fd00::/123")
			s.SetRanges([]Range{
				{Name: "kubernetes", Prefixes: prefixes("10.96.0.0/27,fd00::/123"), Ready: true},
				{Name: "leaving", Prefixes: prefixes("10.98.0.0/24")},
			})
			takeAddrs(s, 2, "10.96.0.9", "fd00::9")
			err := s.Plan(tt.svc, nil)
			got := ""
			if err != nil {
				got = err.Error()
				if !apierrors.IsInvalid(err) {
					t.Errorf("not a 422: %v", err)
				}
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// A7.4: before the first list has come, a requested address cannot be judged.
func TestA7_4_NotReady(t *testing.T) {
	s := NewSpace(Config{Families: newTestSpace("10.96.0.0/16").families})
	s.SetRanges([]Range{{Name: "kubernetes", Prefixes: prefixes("10.96.0.0/16"), Ready: true}})
	err := s.Plan(service(withIPs("10.96.1.1")), nil)
	const want = `Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.96.1.1"]: failed to allocate IP 10.96.1.1: allocator not ready`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// A7.5, F8: a /28 whose tenth address is taken gives twelve more (besides kubernetes.default), then
// it is full, and says how full beside the fixed message.
func TestA7_5_Full(t *testing.T) {
	s := newTestSpace("10.96.0.0/28")
	takeAddrs(s, 2, "10.96.0.1", "10.96.0.10")
	seen := map[netip.Addr]bool{}
	for range 12 {
		svc := mustPlan(t, s, service(), nil)
		addrs, _ := Claims(svc)
		if seen[addrs[0]] {
			t.Fatalf("%s twice", addrs[0])
		}
		seen[addrs[0]] = true
		take(s, 3, svc)
	}
	s.SetRanges([]Range{
		{Name: "more", Prefixes: prefixes("10.97.0.0/24")},
		{Name: "kubernetes", Prefixes: prefixes("10.96.0.0/28"), Ready: true},
	})
	err := s.Plan(service(), nil)
	const want = "Internal error occurred: failed to allocate a serviceIP: range is full"
	if err == nil || err.Error() != want || !apierrors.IsInternalError(err) || !IsFull(err) {
		t.Errorf("got %v", err)
	}
	const detail = "IPv4 Service addresses in use: kubernetes 10.96.0.0/28 14/14, more 10.97.0.0/24 0/254 (not ready)"
	if got := FullDetail(err); got != detail {
		t.Errorf("detail %q, want %q", got, detail)
	}
	s.SetRanges(nil)
	if got := FullDetail(s.Plan(service(), nil)); got != "IPv4 Service addresses in use: there is no ServiceCIDR of this family" {
		t.Errorf("detail %q", got)
	}
}
