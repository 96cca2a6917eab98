package proxy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/duetk8s/duet/test/golden"
	"github.com/duetk8s/duet/test/sandbox"
)

func stickyFor(seconds int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(seconds)}}
	}
}

func balanced(n int32, ranges ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.LoadBalancerSourceRanges = ranges
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = n
		}
		for _, ip := range []string{"172.31.0.", "fd00:172:31::"} {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip + s.Spec.ClusterIPs[0][len("10.96.0."):]})
		}
	}
}

func external(s *corev1.Service) {
	n := s.Spec.ClusterIPs[0][len("10.96.0."):]
	s.Spec.ExternalIPs = []string{"172.31.0." + n, "fd00:172:31::" + n}
}

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
}

func labelled(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Labels = map[string]string{name: "x"} }
}

func tcpOnly(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] }

func keepSource(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// TestTable: what nft prints.
func TestTable(t *testing.T) {
	sandbox.Need(t)
	c := newCluster(t, Config{})
	c.set(web("one", "1", tcpOnly), endpoints("one", pod1))
	wait(t, c)
	c.set(web("two", "2", balanced(30002), keepSource, tcpOnly), endpoints("two", pod1, pod3))
	wait(t, c)
	c.set(web("stays", "3", stickyFor(600), tcpOnly), endpoints("stays", pod1, pod2))
	wait(t, c)
	c.set(web("none", "4", balanced(30004, "192.0.2.0/24", "2001:db8::/64"), tcpOnly), endpoints("none"))
	wait(t, c)
	table := sandbox.Run(t, "nft", "list", "ruleset")
	golden.Check(t, "testdata/table.golden", inOrder(table))

	// nft reads what it prints, for whoever saves and restores the rules of a machine.
	file := filepath.Join(t.TempDir(), "rules.nft")
	if err := os.WriteFile(file, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := sandbox.Run(t, "unshare", "--net", "sh", "-c", `nft -f "$1" && nft list ruleset`, "sh", file); inOrder(again) != inOrder(table) {
		t.Errorf("read and printed again: got\n%s", again)
	}
}

var listed = regexp.MustCompile(`(?s)elements = \{ (.*?) \}`)

// inOrder puts elements one to a line and, as sets and chains, in order: the kernel's is another each
// time.
func inOrder(table string) string {
	table = listed.ReplaceAllStringFunc(table, func(list string) string {
		elements := strings.Split(listed.FindStringSubmatch(list)[1], ",")
		for i, e := range elements {
			elements[i] = "\n\t\t\t" + strings.TrimSpace(e)
		}
		slices.Sort(elements)
		return "elements = {" + strings.Join(elements, "") + " }"
	})
	blocks := strings.Split(strings.TrimSuffix(table, "}\n"), "\n\n")
	first, rest, _ := strings.Cut(blocks[0], "\n") // the line of the table
	blocks[0] = rest
	for i := range blocks {
		blocks[i] = strings.TrimRight(blocks[i], "\n")
	}
	slices.Sort(blocks)
	return first + "\n" + strings.Join(blocks, "\n\n") + "\n"
}
