package clusterip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/dualstack"
)

// seeded returns a Rand that says the same every time.
func seeded(seed uint64) func(uint64) uint64 {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n uint64) uint64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Uint64N(n)
	}
}

// newTestSpace returns the Space of a cluster whose flags are list and whose one ServiceCIDR,
// "kubernetes", has the same prefixes.
func newTestSpace(list string) *Space {
	prefixes, err := dualstack.Parse("--service-cidr", list)
	if err != nil {
		panic(err)
	}
	s := NewSpace(Config{Families: dualstack.Order(prefixes), Rand: seeded(1)})
	s.SetRanges([]Range{{Name: "kubernetes", Prefixes: prefixes, Ready: true, Revision: 1}})
	s.ReplaceAddrs(1, nil)
	s.ReplacePorts(1, nil)
	return s
}

func prefixes(list string) []netip.Prefix {
	var parsed []netip.Prefix
	for p := range strings.SplitSeq(list, ",") {
		parsed = append(parsed, netip.MustParsePrefix(p))
	}
	return parsed
}

// take tells s that svc is stored.
func take(s *Space, rev int64, svc *corev1.Service) {
	addrs, ports := Claims(svc)
	var changes []Change
	for _, a := range addrs {
		changes = append(changes, Change{Addr: a, Taken: true})
	}
	for _, p := range ports {
		changes = append(changes, Change{Port: p, Taken: true})
	}
	s.Apply(rev, changes)
}

func takeAddrs(s *Space, rev int64, addrs ...string) {
	for _, a := range addrs {
		s.Apply(rev, []Change{{Addr: netip.MustParseAddr(a), Taken: true}})
	}
}

func service(options ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, o := range options {
		o(svc)
	}
	return svc
}

// withIPs sets both clusterIPs and clusterIP, as clients must.
func withIPs(ips ...string) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Spec.ClusterIPs = ips
		if len(ips) > 0 {
			svc.Spec.ClusterIP = ips[0]
		}
	}
}

func withPolicy(p corev1.IPFamilyPolicy) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.IPFamilyPolicy = &p }
}

func withFamilies(families ...corev1.IPFamily) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.IPFamilies = families }
}

func withType(t corev1.ServiceType) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.Type = t }
}

func withPorts(ports ...corev1.ServicePort) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.Ports = ports }
}

func withoutSelector(svc *corev1.Service) { svc.Spec.Selector = nil }

// mustPlan plans svc and fails the test if that fails.
func mustPlan(t *testing.T, s *Space, svc, old *corev1.Service) *corev1.Service {
	t.Helper()
	if err := s.Plan(svc, old); err != nil {
		t.Fatalf("plan: %v", err)
	}
	return svc
}

// codes translates an error into the codes of section A3, sorted: "E1+E3".
func codes(err error) string {
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil {
		return err.Error()
	}
	var found []string
	for _, c := range status.ErrStatus.Details.Causes {
		code := codeOf(c.Field, c.Message)
		if !slices.Contains(found, code) {
			found = append(found, code)
		}
	}
	slices.Sort(found)
	return strings.Join(found, "+")
}

func codeOf(path, message string) string {
	for _, row := range []struct{ code, path, detail string }{
		{"E1", "spec.ipFamilyPolicy", "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"},
		{"E2", "spec.ipFamilyPolicy", "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"},
		{"E3", "spec.clusterIPs[", " is not configured on this cluster"},
		{"E4", "spec.ipFamilyPolicy", "this cluster is not configured for dual-stack services"},
		{"E5", "spec.ipFamilies[", ": not configured on this cluster"},
		{"E6", "spec.ipFamilyPolicy", "must be 'SingleStack' to release the secondary cluster IP"},
		{"E7", "spec.ipFamilyPolicy", "must be 'SingleStack' to release the secondary IP family"},
		{"Vf", "spec.clusterIPs[", " value as indicated by `ipFamilies["},
		{"Vp", "spec.ipFamilies[0]", "may not change once set"},
	} {
		if strings.HasPrefix(path, row.path) && strings.Contains(message, row.detail) {
			return row.code
		}
	}
	return fmt.Sprintf("%s: %s", path, message)
}

// rows splits a table in the spec's notation into its cells, without the header.
func rows(table string) [][]string {
	var all [][]string
	for line := range strings.Lines(strings.TrimSpace(table)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all = append(all, cells)
	}
	return all[2:]
}

// alternatives splits a cell such as "nil, P or R" or "unset/S".
func alternatives(cell string) []string {
	if strings.HasPrefix(cell, "unset/") {
		return strings.Split(cell, "/")
	}
	cell = strings.ReplaceAll(cell, " or ", ", ")
	return strings.Split(cell, ", ")
}

// policyNamed translates S, P, R; nil for "unset" and "nil".
func policyNamed(letter string) *corev1.IPFamilyPolicy {
	p := map[string]corev1.IPFamilyPolicy{
		"S": corev1.IPFamilyPolicySingleStack,
		"P": corev1.IPFamilyPolicyPreferDualStack,
		"R": corev1.IPFamilyPolicyRequireDualStack,
	}[letter]
	if p == "" {
		return nil
	}
	return &p
}

// letters are the policies by the first letter of their names.
func letter(svc *corev1.Service) string {
	if svc.Spec.IPFamilyPolicy == nil {
		return "nil"
	}
	return string(*svc.Spec.IPFamilyPolicy)[:1]
}

// list resolves "[D,X]" with the given meaning of its letters; "unset" and "nil" are no list.
func list(cell string, meaning map[string]string) []string {
	if cell == "unset" || cell == "nil" {
		return nil
	}
	var values []string
	for word := range strings.SplitSeq(strings.Trim(cell, "[]"), ",") {
		values = append(values, meaning[word])
	}
	return values
}

func families(cell string, meaning map[string]string) []corev1.IPFamily {
	var out []corev1.IPFamily
	for _, f := range list(cell, meaning) {
		out = append(out, corev1.IPFamily(f))
	}
	return out
}
