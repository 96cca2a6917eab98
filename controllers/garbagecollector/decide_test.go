package garbagecollector

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/controllers/catalog"
)

func (a action) String() string {
	names := [...]string{"nothing", "ask", "delete", "drop owners", "unblock and delete", "drop finalizer", "orphan"}
	text := names[a.do]
	if a.policy != "" {
		text += " " + string(a.policy)
	}
	for _, uid := range a.uids {
		text += " " + string(uid)
	}
	if a.finalizer != "" {
		text += " " + a.finalizer
	}
	return text
}

// owned returns a situation with one owner o1, o2, … for each state.
func owned(states ...state) situation {
	s := situation{owners: states, node: node{uid: "me", name: "me"}}
	for i := range states {
		s.node.owners = append(s.node.owners, metav1.OwnerReference{UID: types.UID(fmt.Sprintf("o%d", i+1))})
	}
	return s
}

func (s situation) with(change func(*situation)) situation {
	change(&s)
	return s
}

func dependent(block bool) node {
	return node{uid: "d", owners: []metav1.OwnerReference{{UID: "me", BlockOwnerDeletion: &block}}}
}

func TestNext(t *testing.T) {
	owning := func(s *situation) { s.owning = true }
	circle := func(s *situation) { s.owning, s.circle = true, true }
	deleting := func(finalizers ...string) func(*situation) {
		return func(s *situation) { s.node.deleting, s.node.finalizers = true, finalizers }
	}
	const foreground, orphanIt = metav1.FinalizerDeleteDependents, metav1.FinalizerOrphanDependents
	tests := []struct {
		name string
		in   situation
		want string
	}{
		{"no owners", owned(), "nothing"},
		{"owner exists", owned(solid), "nothing"},
		{"owner not seen", owned(unseen), "ask"},
		{"one seen, one not", owned(solid, unseen), "ask"},
		{"owner gone", owned(absent), "delete Background"},
		{"both gone", owned(absent, absent), "delete Background"},
		{"one of two gone", owned(solid, absent), "drop owners o2"},
		{"one of two waits", owned(waits, solid), "drop owners o1"},
		{"one each", owned(waits, solid, absent), "drop owners o1 o3"},
		{"owner waits, no dependents", owned(waits), "delete Background"},
		{"owner waits, dependents", owned(waits).with(owning), "delete Foreground"},
		{"owner gone, dependents", owned(absent).with(owning), "delete Background"},
		{"owner waits for us and we for it", owned(waits).with(circle), "unblock and delete Foreground"},
		{"kind not served", owned(unknown), "nothing"},
		{"kind not served, other gone", owned(absent, unknown), "nothing"},
		{"cluster object names an owner in a namespace", owned(misnamed, absent), "nothing"},
		{"owner gone, orphan wanted", owned(absent).with(func(s *situation) { s.node.finalizers = []string{orphanIt} }), "delete Orphan"},
		{"owner gone, foreground wanted", owned(absent).with(func(s *situation) { s.node.finalizers = []string{foreground} }), "delete Foreground"},
		{"going already", owned(absent).with(deleting("x")), "nothing"},
		{"foreground, nobody left", owned(absent).with(deleting(foreground)), "drop finalizer foregroundDeletion"},
		{"foreground, one blocks", owned().with(deleting(foreground)).with(func(s *situation) { s.dependents = []node{dependent(true)} }), "nothing"},
		{"foreground, one left does not block", owned().with(deleting(foreground)).with(func(s *situation) { s.dependents = []node{dependent(false)} }), "drop finalizer foregroundDeletion"},
		{"orphan", owned().with(deleting(orphanIt)), "orphan orphan"},
		{"finalizer without deletion", owned(solid).with(func(s *situation) { s.node.finalizers = []string{foreground} }), "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := next(tt.in).String(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// kinds serves Service (with namespaces) and Node (without).
type kinds struct{}

func (kinds) Resolve(apiVersion, kind string) (catalog.Kind, bool) {
	switch apiVersion + " " + kind {
	case "v1 Service":
		return catalog.Kind{GroupVersionResource: schema.GroupVersionResource{Version: "v1", Resource: "services"}, Namespaced: true}, true
	case "v1 Node":
		return catalog.Kind{GroupVersionResource: schema.GroupVersionResource{Version: "v1", Resource: "nodes"}}, true
	default:
		return catalog.Kind{}, false
	}
}

func TestStateOf(t *testing.T) {
	g := newGraph()
	services, nodes := schema.GroupResource{Resource: "services"}, schema.GroupResource{Resource: "nodes"}
	g.put(&node{uid: "s", resource: services, namespace: "a", name: "web"}, marks{})
	g.put(&node{uid: "w", resource: services, namespace: "a", name: "old", deleting: true, finalizers: []string{"foregroundDeletion"}}, marks{})
	g.put(&node{uid: "n", resource: nodes, name: "n1"}, marks{})
	ref := func(uid, kind, name string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: "v1", Kind: kind, Name: name, UID: types.UID(uid)}
	}
	tests := []struct {
		name      string
		namespace string
		ref       metav1.OwnerReference
		want      state
		stranger  bool
	}{
		{"there", "a", ref("s", "Service", "web"), solid, false},
		{"waits", "a", ref("w", "Service", "old"), waits, false},
		{"cluster owner", "a", ref("n", "Node", "n1"), solid, false},
		{"cluster owner of cluster object", "", ref("n", "Node", "n1"), solid, false},
		{"never seen", "a", ref("x", "Service", "web"), unseen, false},
		{"other name", "a", ref("s", "Service", "wab"), unseen, false},
		{"other kind", "a", ref("s", "Node", "web"), unseen, false},
		{"other namespace", "b", ref("s", "Service", "web"), unseen, true},
		{"namespaced owner of cluster object", "", ref("s", "Service", "web"), misnamed, true},
		{"kind not served", "a", ref("s", "Widget", "web"), unknown, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &node{uid: "me", resource: services, namespace: tt.namespace, owners: []metav1.OwnerReference{tt.ref}}
			if got := g.stateOf(n, tt.ref, kinds{}); got != tt.want {
				t.Errorf("state %v, want %v", got, tt.want)
			}
			if got := len(g.elsewhere(n)) > 0; got != tt.stranger {
				t.Errorf("in another namespace %v, want %v", got, tt.stranger)
			}
		})
	}
}
