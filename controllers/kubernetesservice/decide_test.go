package kubernetesservice

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func stored(cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: DefaultServiceCIDR},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
	}
}

func with(cidr *networkingv1.ServiceCIDR, status metav1.ConditionStatus, reason, message string) *networkingv1.ServiceCIDR {
	cidr.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status, Reason: reason, Message: message}}
	return cidr
}

func going(cidr *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDR {
	cidr.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	return cidr
}

// TestDecide covers B4.1 to B4.6 and the flag changes of B4.8.
func TestDecide(t *testing.T) {
	const a, b, c = "10.0.0.0/16", "fd00::/112", "10.1.0.0/16"
	differ := func(stored, flags string) warning {
		return warning{"KubernetesDefaultServiceCIDRInconsistent", "The default ServiceCIDR [" + stored + "] does not match the controller flag configurations [" + flags + "]"}
	}
	ab := a + " " + b
	tests := []struct {
		name   string
		flags  []string
		stored *networkingv1.ServiceCIDR
		do     action
		warn   warning
	}{
		{"none, v4", []string{a}, nil, create, warning{}},
		{"none, v6+v4", []string{b, a}, nil, create, warning{}},
		{"new", []string{a, b}, stored(a, b), markReady, warning{}},
		{"unknown", []string{b}, with(stored(b), "Unknown", "", ""), markReady, warning{}},
		{"ready", []string{b, a}, with(stored(b, a), "True", "", ""), leave, warning{}},
		{"not ready", []string{a}, with(stored(a), "False", "OrphanIPAddress", "There are"), leave, warning{"OrphanIPAddress", "Configuration matches, but There are"}},
		{"going", []string{a, b}, going(stored(a)), leave, warning{}},
		{"a to a,b", []string{a, b}, with(stored(a), "True", "", ""), upgrade, warning{}},
		{"b to b,a", []string{b, a}, stored(b), upgrade, warning{}},
		{"a to b,a", []string{b, a}, stored(a), leave, differ(a, b+" "+a)},
		{"a to b", []string{b}, stored(a), leave, differ(a, b)},
		{"a to c", []string{c}, stored(a), leave, differ(a, c)},
		{"a to c,b", []string{c, b}, stored(a), leave, differ(a, c+" "+b)},
		{"a,b to b,a", []string{b, a}, stored(a, b), leave, differ(ab, b+" "+a)},
		{"a,b to a", []string{a}, stored(a, b), leave, differ(ab, a)},
		{"a,b to b", []string{b}, stored(a, b), leave, differ(ab, b)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			do, warn := decide(tt.flags, tt.stored)
			if do != tt.do || warn != tt.warn {
				t.Errorf("action %v, %q\nwant %v, %q", do, warn, tt.do, tt.warn)
			}
		})
	}
	got := upgradeFailed(a, []string{a, b}, errors.New("no")).text
	if want := "The default ServiceCIDR can not be upgraded from 10.0.0.0/16 to dual stack [10.0.0.0/16 fd00::/112] : no"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for s := range strings.SplitSeq(list, ",") {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// summary is a Service's addresses as a user would read them.
func summary(s *corev1.Service) string {
	return fmt.Sprintf("%s%v %v [%s]", *s.Spec.IPFamilyPolicy, s.Spec.IPFamilies, s.Spec.ClusterIPs, s.Spec.ClusterIP)
}

func TestServices(t *testing.T) {
	tests := []struct{ ranges, api, dns string }{
		{"10.96.0.0/16", "SingleStack[IPv4] [10.96.0.1] [10.96.0.1]", "SingleStack[IPv4] [10.96.0.10] [10.96.0.10]"},
		{"fd00:10:96::/112", "SingleStack[IPv6] [fd00:10:96::1] [fd00:10:96::1]", "SingleStack[IPv6] [fd00:10:96::a] [fd00:10:96::a]"},
		{"10.96.0.0/28,fd00::/112", "SingleStack[IPv4] [10.96.0.1] [10.96.0.1]", "PreferDualStack[IPv4 IPv6] [10.96.0.10 fd00::a] [10.96.0.10]"},
		{"fd00::/112,10.96.0.0/16", "SingleStack[IPv6] [fd00::1] [fd00::1]", "PreferDualStack[IPv6 IPv4] [fd00::a 10.96.0.10] [fd00::a]"},
		{"10.96.0.8/29", "SingleStack[IPv4] [10.96.0.9] [10.96.0.9]", "SingleStack[IPv4] [] []"},
		{"10.96.0.0/16,fd00::/125", "SingleStack[IPv4] [10.96.0.1] [10.96.0.1]", "PreferDualStack[IPv4 IPv6] [10.96.0.10] [10.96.0.10]"},
		{"fd00::/125,10.96.0.0/16", "SingleStack[IPv6] [fd00::1] [fd00::1]", "PreferDualStack[IPv6 IPv4] [] []"},
	}
	for _, tt := range tests {
		t.Run(tt.ranges, func(t *testing.T) {
			if got := summary(apiService(prefixes(tt.ranges), 6443)); got != tt.api {
				t.Errorf("kubernetes: %s, want %s", got, tt.api)
			}
			if got := summary(dnsService(prefixes(tt.ranges))); got != tt.dns {
				t.Errorf("kube-dns: %s, want %s", got, tt.dns)
			}
		})
	}
}

func TestAlive(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(address string, age time.Duration) coordinationv1.Lease {
		return *leaseOf(netip.MustParseAddr(address), now.Add(-age))
	}
	tests := []struct {
		name   string
		leases []coordinationv1.Lease
		own    string
		want   string
	}{
		{"first", nil, "10.0.0.2", "[10.0.0.2]"},
		{"second", []coordinationv1.Lease{at("10.0.0.1", 9*time.Second), at("10.0.0.2", 0)}, "10.0.0.2", "[10.0.0.1 10.0.0.2]"},
		{"the other is dead", []coordinationv1.Lease{at("10.0.0.1", 30*time.Second)}, "10.0.0.2", "[10.0.0.2]"},
		{"own is old", []coordinationv1.Lease{at("10.0.0.2", time.Hour)}, "10.0.0.2", "[10.0.0.2]"},
		{"v6", []coordinationv1.Lease{at("fd00::1", 0), at("10.0.0.1", 0)}, "fd00::2", "[fd00::1 fd00::2]"},
		{"nonsense", []coordinationv1.Lease{{}}, "fd00::2", "[fd00::2]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(alive(tt.leases, netip.MustParseAddr(tt.own), now)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	if got, want := leaseName(netip.MustParseAddr("fd00::1")), "apiserver-fd00-0000-0000-0000-0000-0000-0000-0001"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
