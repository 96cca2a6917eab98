package garbagecollector

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var widgets = schema.GroupResource{Resource: "widgets"}

func widget(uid types.UID, owners ...types.UID) *node {
	n := &node{uid: uid, resource: widgets}
	yes := true
	for _, o := range owners {
		n.owners = append(n.owners, metav1.OwnerReference{UID: o, BlockOwnerDeletion: &yes})
	}
	return n
}

func deleted(n *node, finalizer string) *node {
	n.deleting, n.finalizers = true, []string{finalizer}
	return n
}

// TestMarks tells whom a change concerns. Before each, a owns b and c, b owns d, and e names x,
// which nobody has seen.
func TestMarks(t *testing.T) {
	const foreground = metav1.FinalizerDeleteDependents
	tests := []struct {
		name   string
		change func(*graph, marks)
		want   string
	}{
		{"plain object", func(g *graph, m marks) { g.put(widget("p"), m) }, "[]"},
		{"new dependent", func(g *graph, m marks) { g.put(widget("p", "a"), m) }, "[p]"},
		{"nothing that matters", func(g *graph, m marks) { g.put(widget("b", "a"), m) }, "[]"},
		{"other owner", func(g *graph, m marks) { g.put(widget("b", "c"), m) }, "[b]"},
		{"owner seen at last", func(g *graph, m marks) { g.put(widget("x"), m) }, "[e]"},
		{"owner gone", func(g *graph, m marks) { g.remove("a", m) }, "[b c]"},
		{"unseen owner gone", func(g *graph, m marks) { g.remove("x", m) }, "[e]"},
		{"leaf gone", func(g *graph, m marks) { g.remove("d", m) }, "[]"},
		{"foreground", func(g *graph, m marks) { g.put(deleted(widget("a"), foreground), m) }, "[a b c]"},
		{"background with a finalizer", func(g *graph, m marks) { g.put(deleted(widget("a"), "x"), m) }, "[]"},
		{"orphan", func(g *graph, m marks) { g.put(deleted(widget("a"), metav1.FinalizerOrphanDependents), m) }, "[a]"},
		{"leaf of one that waits gone", func(g *graph, m marks) {
			g.put(deleted(widget("a"), foreground), marks{})
			g.remove("c", m)
		}, "[a]"},
		{"leaf leaves one that waits", func(g *graph, m marks) {
			g.put(deleted(widget("a"), foreground), marks{})
			g.put(widget("c"), m)
		}, "[a c]"},
		{"list without a", func(g *graph, m marks) {
			g.replace(widgets, []*node{widget("b", "a"), widget("c", "a"), widget("d", "b"), widget("e", "x")}, m)
		}, "[b c]"},
		{"all unseen", func(g *graph, m marks) { g.markUnseen(m) }, "[e]"},
		{"everything", func(g *graph, m marks) { g.markEverything(m) }, "[b c d e]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, m := newGraph(), marks{}
			for _, n := range []*node{widget("a"), widget("b", "a"), widget("c", "a"), widget("d", "b"), widget("e", "x")} {
				g.put(n, marks{})
			}
			tt.change(g, m)
			if got := fmt.Sprint(slices.Sorted(maps.Keys(m))); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			for uid := range g.nodes {
				g.remove(uid, m)
			}
			if len(g.dependents) != 0 || len(g.kinds[widgets]) != 0 {
				t.Errorf("left over: %v %v", g.dependents, g.kinds)
			}
		})
	}
}

// BenchmarkGraph tells what 30,000 Services, each with one EndpointSlice, cost in memory and time.
func BenchmarkGraph(b *testing.B) {
	const services = 30_000
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		g, m := newGraph(), marks{}
		for i := range services {
			name := fmt.Sprintf("service-%d", i)
			g.put(newNode(widgets, full(name, "")), m)
			g.put(newNode(widgets, full(name+"-x7k2p", name)), m)
		}
		clear(m)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(2*services), "B/object")
		runtime.KeepAlive(g)
	}
}

// full is an object with strings as long as real ones.
func full(name, owner string) *metav1.PartialObjectMetadata {
	uid := func(name string) types.UID { return types.UID(fmt.Sprintf("%-36s", name)) }
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: strings.Clone("default"), Name: name, UID: uid(name), ResourceVersion: fmt.Sprint(100_000),
	}}
	if owner != "" {
		yes := true
		o.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: strings.Clone("v1"), Kind: strings.Clone("Service"), Name: strings.Clone(owner), UID: uid(owner),
			Controller: &yes, BlockOwnerDeletion: &yes,
		}}
	}
	return o
}
