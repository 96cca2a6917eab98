package clusterip

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Table A6.3, with "any" and "rejected" spelled out. Lower case is a family, upper case an address
// of it. Vp says that the primary family may not change (A6.6). "validation" means that the plan
// lets it pass unchanged, for validation to refuse.
const tableA63 = `
| old | new policy | new families | new clusterIPs | result |
|---|---|---|---|---|
| S[a] | nil or S | nil or [a] | nil or [A] | unchanged |
| S[a] | nil or S | [a,b] | nil or [A] | E2 |
| S[a] | nil or S | [a,b] | [A,B] | E1+E2 |
| S[a] | nil or S | nil or [a] | [A,B] | E1 |
| S[a] | P or R | nil, [a] or [a,b] | nil, [A] or [A,B] | upgraded |
| S[a] | P or R | [b,a] | nil or [A] | Vf |
| S[a] | P or R | nil | [B,A] | validation |
| P[a,b] | nil, P or R | nil or [a,b] | nil or [A,B] | unchanged |
| R[a,b] | nil, P or R | nil or [a,b] | nil or [A,B] | unchanged |
| P[a,b] | nil, P or R | [a] | nil or [A,B] | E7 |
| R[a,b] | nil, P or R | [a] | nil or [A,B] | E7 |
| P[a,b] | nil, P or R | [a] | [A] | E6+E7 |
| R[a,b] | nil, P or R | [a] | [A] | E6+E7 |
| P[a,b] | nil, P or R | nil or [a,b] | [A] | E6 |
| R[a,b] | nil, P or R | nil or [a,b] | [A] | E6 |
| P[a,b] | nil, P or R | [b,a] | nil or [A,B] | Vf+Vp |
| R[a,b] | nil, P or R | [b,a] | nil or [A,B] | Vf+Vp |
| P[a,b] | S | nil, [a] or [a,b] | nil, [A] or [A,B] | downgraded |
| R[a,b] | S | nil, [a] or [a,b] | nil, [A] or [A,B] | downgraded |
| R[a,b] | S | [b] | nil or [A,B] | Vf |
| R[a,b] | S | nil or [b] | [B] | validation |`

// Every listed combination, with either family first, on both kinds of dual-stack cluster.
func TestA6_3_Table(t *testing.T) {
	for _, flag := range []string{"10.96.0.0/16,fd00:10:96::/112", "fd00:10:96::/112,10.96.0.0/16"} {
		for _, meaning := range []map[string]string{
			{"a": "IPv4", "b": "IPv6", "A": "10.96.7.7", "B": "fd00:10:96::7"},
			{"a": "IPv6", "b": "IPv4", "A": "fd00:10:96::7", "B": "10.96.7.7"},
		} {
			for _, row := range rows(tableA63) {
				for _, policy := range alternatives(row[1]) {
					for _, fams := range alternatives(row[2]) {
						for _, ips := range alternatives(row[3]) {
							name := fmt.Sprintf("%s/a=%s/%s/%s/%s/%s", flag[:4], meaning["a"], row[0], policy, fams, ips)
							t.Run(name, func(t *testing.T) {
								old := service(withFamilies(families(row[0][1:], meaning)...),
									withIPs(list(strings.ToUpper(row[0][1:]), meaning)...))
								old.Spec.IPFamilyPolicy = policyNamed(row[0][:1])
								svc := service(withFamilies(families(fams, meaning)...), withIPs(list(ips, meaning)...))
								svc.Spec.IPFamilyPolicy = policyNamed(policy)
								checkA63(t, flag, svc, old, row[4])
							})
						}
					}
				}
			}
		}
	}
}

func checkA63(t *testing.T, flag string, svc, old *corev1.Service, want string) {
	t.Helper()
	s, asked, stored := newTestSpace(flag), svc.DeepCopy(), old.DeepCopy()
	take(s, 2, old)
	err := s.Plan(svc, old)
	if !slices.Equal(old.Spec.ClusterIPs, stored.Spec.ClusterIPs) || !slices.Equal(old.Spec.IPFamilies, stored.Spec.IPFamilies) {
		t.Fatalf("the old object changed: %v %v", old.Spec.ClusterIPs, old.Spec.IPFamilies)
	}
	if strings.ContainsAny(want, "EV") {
		if err == nil || codes(err) != want {
			t.Fatalf("got %v, want %s", err, want)
		}
		return
	}
	if err != nil {
		t.Fatalf("got %v, want %s", err, want)
	}
	wantPolicy := letter(asked)
	if wantPolicy == "nil" {
		wantPolicy = letter(old)
	}
	if got := letter(svc); got != wantPolicy {
		t.Errorf("policy %s, want %s", got, wantPolicy)
	}
	before, after := old.Spec.ClusterIPs, svc.Spec.ClusterIPs
	var ok bool
	switch want {
	case "unchanged":
		ok = slices.Equal(before, after)
	case "upgraded":
		ok = len(after) == 2 && after[0] == before[0] && (len(asked.Spec.ClusterIPs) < 2 || after[1] == asked.Spec.ClusterIPs[1])
	case "downgraded":
		ok = slices.Equal(after, before[:1])
	case "validation":
		ok = slices.Equal(after, asked.Spec.ClusterIPs) && after[0] != before[0]
	}
	if !ok {
		t.Errorf("clusterIPs %v from %v, want %s", after, before, want)
	}
	checkA38(t, svc)
	after[0] = "scratch"
	if before[0] == "scratch" {
		t.Error("the old and the new object share their clusterIPs")
	}
}

// A6.3a: on a single-stack cluster R is refused and P accepted, with one family.
func TestA6_3a_SingleStackCluster(t *testing.T) {
	for _, c := range clusters[:2] {
		s := newTestSpace(c.flag)
		old := mustPlan(t, s, service(), nil)
		take(s, 2, old)
		if err := s.Plan(service(withPolicy("RequireDualStack")), old); err == nil || codes(err) != "E4" {
			t.Errorf("%s: R: %v", c.name, err)
		}
		svc := mustPlan(t, s, service(withPolicy("PreferDualStack")), old)
		if letter(svc) != "P" || len(svc.Spec.ClusterIPs) != 1 {
			t.Errorf("%s: P: %v %v", c.name, letter(svc), svc.Spec.ClusterIPs)
		}
	}
}

// A6.3b: a PreferDualStack Service does not change with the cluster unless it is asked to.
func TestA6_3b_PreferDualStackFreeze(t *testing.T) {
	one := mustPlan(t, newTestSpace("10.96.0.0/16"), service(withPolicy("PreferDualStack")), nil)
	dual := newTestSpace("10.96.0.0/16,fd00:10:96::/112")
	take(dual, 2, one)
	if svc := mustPlan(t, dual, one.DeepCopy(), one); len(svc.Spec.ClusterIPs) != 1 {
		t.Errorf("an untouched Service was upgraded: %v", svc.Spec.ClusterIPs)
	}
	for name, change := range map[string]func(*corev1.Service){
		"R":                  withPolicy("RequireDualStack"),
		"omit ipFamilies":    withFamilies(),
		"add to ipFamilies":  withFamilies("IPv4", "IPv6"),
		"nil policy, as PUT": func(svc *corev1.Service) { svc.Spec.IPFamilyPolicy = nil },
	} {
		svc := one.DeepCopy()
		change(svc)
		if mustPlan(t, dual, svc, one); len(svc.Spec.ClusterIPs) != 2 {
			t.Errorf("%s: not upgraded: %v", name, svc.Spec.ClusterIPs)
		}
	}
	two := mustPlan(t, dual, service(withPolicy("PreferDualStack")), nil)
	single := newTestSpace("10.96.0.0/16")
	if svc := mustPlan(t, single, two.DeepCopy(), two); len(svc.Spec.ClusterIPs) != 2 {
		t.Errorf("an untouched Service was downgraded: %v", svc.Spec.ClusterIPs)
	}
	down := two.DeepCopy()
	withPolicy("SingleStack")(down)
	if mustPlan(t, single, down, two); len(down.Spec.ClusterIPs) != 1 {
		t.Errorf("S: not downgraded: %v", down.Spec.ClusterIPs)
	}
}

// A6.3d: a headless Service with selector moves between families freely, but not from two to one;
// omitted families come from the cluster, not from the old object.
func TestA6_3d_Headless(t *testing.T) {
	s := newTestSpace("10.96.0.0/16,fd00:10:96::/112")
	old := mustPlan(t, s, service(withIPs("None"), withPolicy("RequireDualStack"), withFamilies("IPv6")), nil)
	for _, tt := range []struct {
		families []corev1.IPFamily
		policy   corev1.IPFamilyPolicy
		want     string
	}{
		{nil, "RequireDualStack", "[IPv4 IPv6]"},
		{[]corev1.IPFamily{"IPv4", "IPv6"}, "RequireDualStack", "[IPv4 IPv6]"},
		{[]corev1.IPFamily{"IPv4"}, "RequireDualStack", "E7"},
		{[]corev1.IPFamily{"IPv4"}, "SingleStack", "[IPv4]"},
	} {
		svc := service(withIPs("None"), withPolicy(tt.policy), withFamilies(tt.families...))
		got := ""
		if err := s.Plan(svc, old); err != nil {
			got = codes(err)
		} else {
			got = fmt.Sprint(svc.Spec.IPFamilies)
		}
		if got != tt.want || len(svc.Spec.ClusterIPs) != 1 {
			t.Errorf("%v %s: got %s %v, want %s", tt.families, tt.policy, got, svc.Spec.ClusterIPs, tt.want)
		}
	}
}

// A6.5: to ExternalName everything is given up, from it everything is new.
func TestA6_5_ExternalName(t *testing.T) {
	s := newTestSpace("10.96.0.0/16,fd00:10:96::/112")
	old := mustPlan(t, s, service(withPolicy("RequireDualStack"), withType("NodePort")), nil)
	take(s, 2, old)
	external := old.DeepCopy()
	external.Spec.Type = corev1.ServiceTypeExternalName
	mustPlan(t, s, external, old)
	if addrs, ports := Claims(external); addrs != nil || ports != nil {
		t.Errorf("an ExternalName Service claims %v %v", addrs, ports)
	}
	back := mustPlan(t, s, service(withPolicy("RequireDualStack"), withType("NodePort")), service(withType("ExternalName")))
	if addrs, ports := Claims(back); len(addrs) != 2 || len(ports) != 1 {
		t.Errorf("claims %v %v", addrs, ports)
	}
	// Headless Services change to it and back as well; from None to an address is for validation.
	headless := mustPlan(t, s, service(withIPs("None")), nil)
	mustPlan(t, s, service(withType("ExternalName")), headless)
	svc := mustPlan(t, s, service(withIPs("10.96.1.1")), headless)
	if !slices.Equal(svc.Spec.ClusterIPs, []string{"10.96.1.1"}) {
		t.Errorf("clusterIPs %v", svc.Spec.ClusterIPs)
	}
	svc = mustPlan(t, s, service(withIPs("None"), withPolicy("RequireDualStack"), withFamilies("IPv4")), mustPlan(t, s, service(), nil))
	if !slices.Equal(svc.Spec.ClusterIPs, []string{"None"}) {
		t.Errorf("clusterIPs %v", svc.Spec.ClusterIPs)
	}
}
