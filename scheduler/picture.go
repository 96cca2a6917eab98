package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/fit"
)

// change is a set of things that can happen to nodes and help a Pod that fitted nowhere.
type change uint8

const (
	nodeAdded change = 1 << iota
	nodeResources
	nodeLabels
	nodeTaints // or spec.unschedulable
	podGone    // from a node, with its resources and ports
)

// picture is the cluster as the filters see it: nodes, and which Pods are on them.
type picture struct {
	nodes  []*node // those that exist, by name
	byName map[string]*node
	places map[types.UID]*node
}

// node with what its Pods take.
type node struct {
	*corev1.Node // nil while only its Pods are known
	name         string
	room         fit.Room
	expected     fit.Amounts // as used, with a guess for those that request nothing
	pods         map[types.UID]*pod
	groups       map[string]int // number of Pods of each
}

func newPicture() *picture {
	return &picture{byName: map[string]*node{}, places: map[types.UID]*node{}}
}

func (c *picture) node(name string) *node {
	n, ok := c.byName[name]
	if !ok {
		n = &node{name: name, expected: fit.Amounts{}, pods: map[types.UID]*pod{}, groups: map[string]int{}}
		c.byName[name] = n
	}
	return n
}

func byName(n *node, name string) int { return strings.Compare(n.name, name) }

// setNode adds or replaces a node, and returns what is new about it.
func (c *picture) setNode(obj *corev1.Node) change {
	n := c.node(obj.Name)
	old := n.Node
	n.Node = obj
	if old == nil {
		at, _ := slices.BinarySearchFunc(c.nodes, obj.Name, byName)
		c.nodes = slices.Insert(c.nodes, at, n)
		n.room.Allocatable = fit.AmountsOf(obj.Status.Allocatable)
		return nodeAdded
	}
	var changed change
	if !equality.Semantic.DeepEqual(old.Status.Allocatable, obj.Status.Allocatable) {
		n.room.Allocatable = fit.AmountsOf(obj.Status.Allocatable)
		changed |= nodeResources
	}
	if !equality.Semantic.DeepEqual(old.Labels, obj.Labels) {
		changed |= nodeLabels
	}
	if old.Spec.Unschedulable != obj.Spec.Unschedulable || !equality.Semantic.DeepEqual(old.Spec.Taints, obj.Spec.Taints) {
		changed |= nodeTaints
	}
	return changed
}

// removeNode keeps count of the Pods it still has.
func (c *picture) removeNode(name string) {
	n, ok := c.byName[name]
	if !ok {
		return
	}
	if at, found := slices.BinarySearchFunc(c.nodes, name, byName); found {
		c.nodes = slices.Delete(c.nodes, at, at+1)
	}
	n.Node = nil
	c.forget(n)
}

// forget drops a node that is nothing but a name.
func (c *picture) forget(n *node) {
	if n.Node == nil && len(n.pods) == 0 {
		delete(c.byName, n.name)
	}
}

// place puts a Pod on a node, and takes it from where it was.
func (c *picture) place(p *pod, name string) {
	c.remove(p.UID)
	n := c.node(name)
	n.pods[p.UID] = p
	n.room.Add(&p.needs)
	n.expected.Add(p.expected, 1)
	n.groups[p.group]++
	c.places[p.UID] = n
}

// remove takes a Pod from its node and tells whether it had one.
func (c *picture) remove(uid types.UID) bool {
	n, ok := c.places[uid]
	if !ok {
		return false
	}
	p := n.pods[uid]
	delete(n.pods, uid)
	delete(c.places, uid)
	n.room.Remove(&p.needs)
	n.expected.Add(p.expected, -1)
	if n.groups[p.group]--; n.groups[p.group] == 0 {
		delete(n.groups, p.group)
	}
	c.forget(n)
	return true
}
