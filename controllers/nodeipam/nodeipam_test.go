package nodeipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

func prefixes(list string) (out []netip.Prefix) {
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func newPools(t *testing.T, list string) (ps pools) {
	t.Helper()
	for _, r := range prefixes(list) {
		p, err := newPool(r)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

func TestBlocks(t *testing.T) {
	for _, row := range []struct{ name, ranges, skip, want string }{
		{"v4", "10.244.0.0/16", "", "10.244.0.0/24 | 10.244.1.0/24 | 10.244.2.0/24"},
		{"v6", "fd00:10:244::/56", "", "fd00:10:244::/64 | fd00:10:244:1::/64 | fd00:10:244:2::/64"},
		{"v4+v6", "10.244.0.0/16 fd00:10:244::/56", "", "10.244.0.0/24 fd00:10:244::/64 | 10.244.1.0/24 fd00:10:244:1::/64 | 10.244.2.0/24 fd00:10:244:2::/64"},
		{"v6+v4", "fd00:10:244::/56 10.244.0.0/16", "", "fd00:10:244::/64 10.244.0.0/24 | fd00:10:244:1::/64 10.244.1.0/24 | fd00:10:244:2::/64 10.244.2.0/24"},
		{"D1.4 Service range inside", "10.96.0.0/14", "10.96.0.0/16", "10.97.0.0/24 | 10.97.1.0/24 | 10.97.2.0/24"},
		{"one block", "10.0.7.0/24", "", "10.0.7.0/24 | full | full"},
		{"D1.5 all or none", "10.0.7.0/24 fd00::/62", "", "10.0.7.0/24 fd00::/64 | full | full"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ps := newPools(t, row.ranges)
			ps.occupy(prefixes(row.skip))
			var got []string
			for range 3 {
				blocks, err := ps.allocate()
				if err != nil {
					got = append(got, "full")
					continue
				}
				got = append(got, strings.Trim(fmt.Sprint(blocks), "[]"))
			}
			if g := strings.Join(got, " | "); g != row.want {
				t.Errorf("got  %s\nwant %s", g, row.want)
			}
		})
	}
}

// A block that was given back is not the next one to be given (D1.4), and none is lost.
func TestRoundRobin(t *testing.T) {
	for _, ranges := range []string{"10.0.0.0/22", "fd00::/62", "10.0.0.0/22 fd00::/62", "fd00::/62 10.0.0.0/22"} {
		ps := newPools(t, ranges)
		first, err := ps.allocate()
		if err != nil {
			t.Fatal(err)
		}
		ps.free(first)
		for range 4 {
			blocks, err := ps.allocate()
			if err != nil {
				t.Fatal(err)
			}
			if last := slices.Equal(blocks, first); last != (ps[0].next == 1) {
				t.Errorf("%s: %v came too early or too late", ranges, blocks)
			}
		}
		if _, err := ps.allocate(); err == nil {
			t.Errorf("%s: a fifth block of four", ranges)
		}
	}
}

func TestRangesThatCannotBeDivided(t *testing.T) {
	for _, r := range prefixes("10.0.0.0/25 fd00::/65 fd00::/47") {
		if _, err := newPool(r); err == nil || !strings.Contains(err.Error(), r.String()) {
			t.Errorf("%s: %v", r, err)
		}
	}
}

// The controller keeps what Nodes have, gives what they lack, and takes back what is gone.
func TestController(t *testing.T) {
	ctx := t.Context()
	old := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/24", "fd00::/64"}}}
	client := fake.NewClientset(old)
	factory := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Deps{client, factory.Core().V1().Nodes(), record.NewFakeRecorder(100)}, Config{Pods: prefixes("10.0.0.0/23 fd00::/63")})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, factory, c.Run)

	nodes := client.CoreV1().Nodes()
	blocks := func(name, want string) {
		t.Helper()
		eventually.Is(t, 10*time.Second, "blocks of "+name, func() string {
			node, err := nodes.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(node.Spec.PodCIDRs, " ")
		}, want)
	}
	create := func(name string) {
		t.Helper()
		if _, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("a")
	blocks("a", "10.0.1.0/24 fd00:0:0:1::/64")
	create("b") // nothing is left
	if err := nodes.Delete(ctx, "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	blocks("b", "10.0.0.0/24 fd00::/64")
	blocks("a", "10.0.1.0/24 fd00:0:0:1::/64")
}
