package garbagecollector

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/controllers/catalog"
)

// resolver finds the kind that an owner reference names.
type resolver interface {
	Resolve(apiVersion, kind string) (catalog.Kind, bool)
}

// state is what is known of an owner that an object names.
type state int

const (
	unseen   state = iota // not in the graph: ask the API
	solid                 // exists
	waits                 // exists, and is being deleted in the foreground
	absent                // the API says that there is none
	unknown               // its kind is not served: cannot tell
	misnamed              // of a kind with namespaces, named by an object without: cannot be
)

// situation is all that decides what happens to an object.
type situation struct {
	node   node
	owners []state // of node.owners, one by one

	// dependents are the objects that name this one as an owner. They are filled in only where
	// they matter: all when orphaning, else those that block.
	dependents []node
	// circle is true when a dependent is being deleted in the foreground too, so that it and
	// this one would wait for each other.
	circle bool
	// owning is true when there are dependents at all.
	owning bool
	// strangers are the references to owners that live in another namespace.
	strangers []metav1.OwnerReference
}

// verb is a kind of action.
type verb int

const (
	nothing       verb = iota
	ask                // look up the owners that are unseen, then decide again
	deleteIt           // with policy
	dropOwners         // remove the references in uids
	unblock            // set blockOwnerDeletion of all references to false, then delete with policy
	dropFinalizer      // named finalizer
	orphan             // remove the reference to it from each dependent, then the finalizer orphan
)

// action is what to do with an object.
type action struct {
	do        verb
	policy    metav1.DeletionPropagation
	uids      []types.UID
	finalizer string
}

// next decides what happens to an object.
func next(s situation) action {
	switch {
	case s.node.orphaning():
		return action{do: orphan, finalizer: metav1.FinalizerOrphanDependents}
	case s.node.waiting():
		if slices.ContainsFunc(s.dependents, func(d node) bool { return d.blocks(s.node.uid) }) {
			return action{do: nothing} // they are marked themselves
		}
		return action{do: dropFinalizer, finalizer: metav1.FinalizerDeleteDependents}
	case s.node.deleting, len(s.node.owners) == 0:
		return action{do: nothing}
	default:
		return byOwners(s)
	}
}

// byOwners decides over an object that nobody deleted but that names owners.
func byOwners(s situation) action {
	has := func(want state) bool { return slices.Contains(s.owners, want) }
	switch {
	case has(unknown), has(misnamed):
		return action{do: nothing}
	case has(unseen):
		return action{do: ask}
	case has(solid):
		uids := s.naming(waits, absent)
		if len(uids) == 0 {
			return action{do: nothing}
		}
		return action{do: dropOwners, uids: uids}
	case has(waits) && s.owning:
		// The owner waits for this one, which must in turn wait for its own dependents.
		if s.circle {
			return action{do: unblock, policy: metav1.DeletePropagationForeground}
		}
		return action{do: deleteIt, policy: metav1.DeletePropagationForeground}
	default:
		return action{do: deleteIt, policy: s.policy()}
	}
}

// policy is the one that the object's finalizers ask for.
func (s situation) policy() metav1.DeletionPropagation {
	switch {
	case slices.Contains(s.node.finalizers, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(s.node.finalizers, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	default:
		return metav1.DeletePropagationBackground
	}
}

// naming returns the UIDs of the owners in one of the states.
func (s situation) naming(states ...state) []types.UID {
	var uids []types.UID
	for i, r := range s.node.owners {
		if slices.Contains(states, s.owners[i]) {
			uids = append(uids, r.UID)
		}
	}
	return uids
}

// situationOf gathers what next needs. It returns false if the object is not in the graph.
func (g *graph) situationOf(uid types.UID, kinds resolver) (situation, bool) {
	n := g.nodes[uid]
	if n == nil {
		return situation{}, false
	}
	s := situation{node: *n, owning: len(g.dependents[uid]) > 0, strangers: g.elsewhere(n)}
	for _, r := range n.owners {
		s.owners = append(s.owners, g.stateOf(n, r, kinds))
	}
	for _, d := range g.dependents[uid] {
		dependent := g.nodes[d]
		if n.orphaning() || (n.waiting() && dependent.blocks(uid)) {
			s.dependents = append(s.dependents, *dependent)
		}
		s.circle = s.circle || dependent.waiting()
	}
	return s, true
}

// stateOf tells what the graph knows of the owner that n names in r. A node with the right UID
// but another kind, name or namespace is not the owner named: the API has to be asked.
func (g *graph) stateOf(n *node, r metav1.OwnerReference, kinds resolver) state {
	kind, ok := kinds.Resolve(r.APIVersion, r.Kind)
	if !ok {
		return unknown
	}
	if kind.Namespaced && n.namespace == "" {
		return misnamed
	}
	owner := g.nodes[r.UID]
	namespace := ""
	if kind.Namespaced {
		namespace = n.namespace
	}
	switch {
	case owner == nil, owner.resource != kind.GroupResource(), owner.name != r.Name, owner.namespace != namespace:
		return unseen
	case owner.waiting():
		return waits
	default:
		return solid
	}
}

// elsewhere returns n's references to owners that the graph has seen in another namespace.
func (g *graph) elsewhere(n *node) []metav1.OwnerReference {
	var list []metav1.OwnerReference
	for _, r := range n.owners {
		if owner := g.nodes[r.UID]; owner != nil && owner.namespace != "" && owner.namespace != n.namespace {
			list = append(list, r)
		}
	}
	return list
}
