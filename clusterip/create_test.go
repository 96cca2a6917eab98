package clusterip

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// The tables of the specification, as they stand there. D is the cluster's default family, X the
// other one. A cell without a policy keeps the policy asked for.
const (
	tableA3T1 = `
| clusterIPs | policy | unset | [D] | [X] | [D,X] | [X,D] |
|---|---|---|---|---|---|---|
| none | unset/S | S[D] | S[D] | E5 | E2 | E2 |
| none | P | P[D] | P[D] | E5 | E5 | E5 |
| none | R | E4 | E4 | E4+E5 | E4+E5 | E4+E5 |
| D ip | unset/S | S[D] | S[D] | Vf | E2 | Vf |
| D ip | P | P[D] | P[D] | Vf | E5 | Vf |
| D ip | R | E4 | E4 | Vf | E4+E5 | Vf |
| X ip | unset/S | E3 | Vf | E5 | Vf | E2 |
| X ip | P | E3 | Vf | E5 | Vf | E5 |
| X ip | R | E3 | Vf | E4+E5 | Vf | E4+E5 |
| D,X ips | unset/S | E1+E3 | E1+E3 | Vf | E1+E2 | Vf |
| D,X ips | P | E3 | E3 | Vf | E5 | Vf |
| D,X ips | R | E3 | E3 | Vf | E4+E5 | Vf |
| X,D ips | unset/S | E1+E3 | Vf | E1 | Vf | E1+E2 |
| X,D ips | P | E3 | Vf | E5 | Vf | E5 |
| X,D ips | R | E3 | Vf | E4+E5 | Vf | E4+E5 |
| None, selector | unset/S | S[D] | S[D] | E5 | E2 | E2 |
| None, selector | P | P[D] | P[D] | E5 | E5 | E5 |
| None, selector | R | E4 | E4 | E4+E5 | E4+E5 | E4+E5 |
| None, no selector | unset/R | R[D,X] | R[D,X] | R[X,D] | R[D,X] | R[X,D] |
| None, no selector | S | S[D] | S[D] | S[X] | E2 | E2 |
| None, no selector | P | P[D,X] | P[D,X] | P[X,D] | P[D,X] | P[X,D] |`

	tableA3T2 = `
| clusterIPs | policy | unset | [D] | [X] | [D,X] | [X,D] |
|---|---|---|---|---|---|---|
| none | unset/S | S[D] | S[D] | S[X] | E2 | E2 |
| none | P or R | [D,X] | [D,X] | [X,D] | [D,X] | [X,D] |
| D ip | unset/S | S[D] | S[D] | Vf | E2 | Vf |
| D ip | P or R | [D,X] | [D,X] | Vf | [D,X] | Vf |
| X ip | unset/S | S[X] | Vf | S[X] | Vf | E2 |
| X ip | P or R | [X,D] | Vf | [X,D] | Vf | [X,D] |
| D,X ips | unset/S | E1 | E1 | Vf | E1+E2 | Vf |
| D,X ips | P or R | [D,X] | [D,X] | Vf | [D,X] | Vf |
| X,D ips | unset/S | E1 | Vf | E1 | Vf | E1+E2 |
| X,D ips | P or R | [X,D] | Vf | [X,D] | Vf | [X,D] |
| None, selector | unset/S | S[D] | S[D] | S[X] | E2 | E2 |
| None, selector | P or R | [D,X] | [D,X] | [X,D] | [D,X] | [X,D] |
| None, no selector | unset/R | R[D,X] | R[D,X] | R[X,D] | R[D,X] | R[X,D] |
| None, no selector | S | S[D] | S[D] | S[X] | E2 | E2 |
| None, no selector | P | P[D,X] | P[D,X] | P[X,D] | P[D,X] | P[X,D] |`
)

var clusters = []struct {
	name, flag, table string
	meaning           map[string]string // D and X: families; d and x: an address of each
}{
	{"v4", "10.96.0.0/16", tableA3T1, v4First},
	{"v6", "fd00:10:96::/112", tableA3T1, v6First},
	{"v4+v6", "10.96.0.0/16,fd00:10:96::/112", tableA3T2, v4First},
	{"v6+v4", "fd00:10:96::/112,10.96.0.0/16", tableA3T2, v6First},
}

var (
	v4First = map[string]string{"D": "IPv4", "X": "IPv6", "d": "10.96.7.7", "x": "fd00:10:96::7"}
	v6First = map[string]string{"D": "IPv6", "X": "IPv4", "d": "fd00:10:96::7", "x": "10.96.7.7"}
)

// All combinations of tables A3.T1 and A3.T2, on create and on an update from ExternalName, which
// is a fresh allocation too (A6.5).
func TestA3_Tables(t *testing.T) {
	columns := []string{"unset", "[D]", "[X]", "[D,X]", "[X,D]"}
	cases := 0
	for _, cluster := range clusters {
		for _, row := range rows(cluster.table) {
			for _, policy := range alternatives(row[1]) {
				for i, column := range columns {
					want := row[2+i]
					name := fmt.Sprintf("%s/%s/%s/%s", cluster.name, row[0], policy, column)
					cases++
					t.Run(name, func(t *testing.T) {
						request := func() *corev1.Service {
							svc := service(withFamilies(families(column, cluster.meaning)...))
							svc.Spec.IPFamilyPolicy = policyNamed(policy)
							requestIPs(svc, row[0], cluster.meaning)
							return svc
						}
						external := service(withType(corev1.ServiceTypeExternalName))
						for _, old := range []*corev1.Service{nil, external} {
							svc := request()
							err := newTestSpace(cluster.flag).Plan(svc, old)
							checkA3(t, svc, err, want, policy, cluster.meaning)
						}
					})
				}
			}
		}
	}
	if want := 4 * 7 * 4 * 5; cases != want { // clusters, rows of clusterIPs, policies, columns
		t.Errorf("%d cases, want %d", cases, want)
	}
}

// requestIPs sets what a cell of the first column says.
func requestIPs(svc *corev1.Service, cell string, meaning map[string]string) {
	what, selector, _ := strings.Cut(cell, ", ")
	switch {
	case what == "None":
		withIPs(corev1.ClusterIPNone)(svc)
		if selector == "no selector" {
			withoutSelector(svc)
		}
	case what != "none":
		words := strings.ToLower(strings.Fields(what)[0])
		withIPs(list(words, meaning)...)(svc)
	}
}

func checkA3(t *testing.T, svc *corev1.Service, err error, want, policy string, meaning map[string]string) {
	t.Helper()
	open := strings.IndexByte(want, '[')
	if open < 0 {
		if err == nil || codes(err) != want {
			t.Fatalf("got %v, want %s", err, want)
		}
		return
	}
	if err != nil {
		t.Fatalf("got %v, want %s", err, want)
	}
	wantPolicy := want[:open]
	if wantPolicy == "" {
		wantPolicy = policy
	}
	if got := letter(svc); got != wantPolicy {
		t.Errorf("policy %s, want %s", got, wantPolicy)
	}
	if got, want := svc.Spec.IPFamilies, families(want[open:], meaning); !slices.Equal(got, want) {
		t.Errorf("families %v, want %v", got, want)
	}
	checkA38(t, svc)
}

// checkA38: clusterIPs follow ipFamilies, clusterIP is the first of them; headless keeps one None.
func checkA38(t *testing.T, svc *corev1.Service) {
	t.Helper()
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 || svc.Spec.ClusterIP != ips[0] {
		t.Fatalf("clusterIP %q, clusterIPs %q", svc.Spec.ClusterIP, ips)
	}
	if ips[0] == corev1.ClusterIPNone {
		if len(ips) != 1 {
			t.Errorf("headless with clusterIPs %q", ips)
		}
		return
	}
	if got := familiesOf(ips); !slices.Equal(got, svc.Spec.IPFamilies) {
		t.Errorf("families %v but clusterIPs %q", svc.Spec.IPFamilies, ips)
	}
}

// A1.10: what an old server stored is read with its families filled in.
func TestA1_10_DefaultOnRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		svc  *corev1.Service
		want string
	}{
		{"one address", service(func(s *corev1.Service) { s.Spec.ClusterIP = "fd00::1" }), "S [IPv6] [fd00::1]"},
		{"two addresses", service(withIPs("fd00::1", "10.0.0.1")), "R [IPv6 IPv4] [fd00::1 10.0.0.1]"},
		{"headless", service(withIPs("None")), "S [IPv4] [None]"},
		{"headless without selector", service(withIPs("None"), withoutSelector), "R [IPv4 IPv6] [None]"},
		{"complete", service(withIPs("None"), withPolicy("PreferDualStack"), withFamilies("IPv6")), "P [IPv6] [None]"},
		{"ExternalName", service(withType("ExternalName")), "nil [] []"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			newTestSpace("10.0.0.0/16").asRead(tt.svc) // must not touch its argument
			DefaultOnRead(tt.svc, newTestSpace("10.0.0.0/16").families)
			got := fmt.Sprint(letter(tt.svc), tt.svc.Spec.IPFamilies, tt.svc.Spec.ClusterIPs)
			got = strings.Replace(got, "[", " [", 1)
			if got = strings.ReplaceAll(got, "  ", " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
