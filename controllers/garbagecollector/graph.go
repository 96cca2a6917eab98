package garbagecollector

import (
	"slices"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// node is what is remembered of an object. There is one for every object in the cluster, so it
// is kept small: about 200 bytes with its strings.
type node struct {
	uid             types.UID
	resource        schema.GroupResource
	namespace, name string
	revision        string // resourceVersion, for writes that must not be stale
	owners          []metav1.OwnerReference
	finalizers      []string
	deleting        bool
}

// waiting reports whether the object is being deleted in the foreground: it stays until its
// blocking dependents are gone.
func (n *node) waiting() bool {
	return n.deleting && slices.Contains(n.finalizers, metav1.FinalizerDeleteDependents)
}

// orphaning reports whether the object is being deleted and its dependents are to stay.
func (n *node) orphaning() bool {
	return n.deleting && slices.Contains(n.finalizers, metav1.FinalizerOrphanDependents)
}

// blocks reports whether the node keeps a waiting owner from going.
func (n *node) blocks(owner types.UID) bool {
	return slices.ContainsFunc(n.owners, func(r metav1.OwnerReference) bool {
		return r.UID == owner && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

// newNode takes what it needs of o, which the caller must not change any more. Strings that are
// the same in many objects are kept once.
func newNode(resource schema.GroupResource, o *metav1.PartialObjectMetadata) *node {
	for i := range o.OwnerReferences {
		r := &o.OwnerReferences[i]
		r.APIVersion, r.Kind = unique.Make(r.APIVersion).Value(), unique.Make(r.Kind).Value()
	}
	return &node{
		uid: o.UID, resource: resource, namespace: unique.Make(o.Namespace).Value(), name: o.Name,
		revision: o.ResourceVersion, owners: o.OwnerReferences, finalizers: o.Finalizers,
		deleting: o.DeletionTimestamp != nil,
	}
}

// graph is all objects and who owns whom. It is not safe for concurrent use; the controller has
// one goroutine own it.
type graph struct {
	nodes      map[types.UID]*node
	dependents map[types.UID][]types.UID // owner, seen or not, to dependents in any order
	kinds      map[schema.GroupResource]map[types.UID]struct{}
}

func newGraph() *graph {
	return &graph{
		nodes:      map[types.UID]*node{},
		dependents: map[types.UID][]types.UID{},
		kinds:      map[schema.GroupResource]map[types.UID]struct{}{},
	}
}

// marks are the objects whose fate a change may have changed.
type marks map[types.UID]struct{}

func (m marks) add(uid types.UID) { m[uid] = struct{}{} }

// put takes in an object that was created or changed.
func (g *graph) put(n *node, m marks) {
	old := g.nodes[n.uid]
	g.nodes[n.uid] = n
	if old == nil {
		if g.kinds[n.resource] == nil {
			g.kinds[n.resource] = map[types.UID]struct{}{}
		}
		g.kinds[n.resource][n.uid] = struct{}{}
		old = &node{}
		// Dependents seen earlier may name this owner wrongly.
		g.markDependents(n.uid, m)
	}
	if !sameOwners(old.owners, n.owners) {
		g.reindex(n.uid, old.owners, n.owners)
		g.markWaiting(old.owners, m)
		g.markWaiting(n.owners, m)
		m.add(n.uid)
	}
	if old.waiting() != n.waiting() {
		m.add(n.uid)
		g.markDependents(n.uid, m)
	}
	if old.orphaning() != n.orphaning() {
		m.add(n.uid)
	}
}

// remove takes out an object that is gone.
func (g *graph) remove(uid types.UID, m marks) {
	n := g.nodes[uid]
	if n == nil {
		g.markDependents(uid, m) // never seen, but its dependents may have been
		return
	}
	delete(g.nodes, uid)
	delete(g.kinds[n.resource], uid)
	g.reindex(uid, n.owners, nil)
	g.markWaiting(n.owners, m)
	g.markDependents(uid, m)
}

// replace takes in a complete list of one kind.
func (g *graph) replace(resource schema.GroupResource, list []*node, m marks) {
	listed := make(map[types.UID]struct{}, len(list))
	for _, n := range list {
		listed[n.uid] = struct{}{}
		g.put(n, m)
	}
	for uid := range g.kinds[resource] {
		if _, ok := listed[uid]; !ok {
			g.remove(uid, m)
		}
	}
}

// markUnseen marks the dependents of owners that are not in the graph.
func (g *graph) markUnseen(m marks) {
	for owner := range g.dependents {
		if g.nodes[owner] == nil {
			g.markDependents(owner, m)
		}
	}
}

// markEverything marks what needs a first decision once every kind was listed.
func (g *graph) markEverything(m marks) {
	for uid, n := range g.nodes {
		if len(n.owners) > 0 || n.waiting() || n.orphaning() {
			m.add(uid)
		}
	}
}

func (g *graph) markDependents(owner types.UID, m marks) {
	for _, uid := range g.dependents[owner] {
		m.add(uid)
	}
}

// markWaiting marks the owners that wait for a dependent to go.
func (g *graph) markWaiting(owners []metav1.OwnerReference, m marks) {
	for _, r := range owners {
		if n := g.nodes[r.UID]; n != nil && n.waiting() {
			m.add(r.UID)
		}
	}
}

func (g *graph) reindex(uid types.UID, old, now []metav1.OwnerReference) {
	for _, r := range old {
		list := g.dependents[r.UID]
		at := slices.Index(list, uid)
		switch {
		case at < 0: // the object named this owner twice
		case len(list) == 1:
			delete(g.dependents, r.UID)
		default:
			list[at] = list[len(list)-1]
			g.dependents[r.UID] = list[:len(list)-1]
		}
	}
	for _, r := range now {
		if !slices.Contains(g.dependents[r.UID], uid) {
			g.dependents[r.UID] = append(g.dependents[r.UID], uid)
		}
	}
}

func sameOwners(a, b []metav1.OwnerReference) bool {
	return slices.EqualFunc(a, b, func(x, y metav1.OwnerReference) bool {
		block := func(r metav1.OwnerReference) bool { return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion }
		return x.UID == y.UID && x.APIVersion == y.APIVersion && x.Kind == y.Kind && x.Name == y.Name && block(x) == block(y)
	})
}
