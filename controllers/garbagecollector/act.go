package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
)

// errNotServed says that the kind of an object in the graph is not served any more.
var errNotServed = errors.New("kind is not served")

// actor carries actions out. It decides nothing. All errors are worth another try, with a new
// decision.
type actor struct {
	client metadata.Interface
	events record.EventRecorder
	absent absences
}

// perform carries out what next decided about a situation.
func (a *actor) perform(ctx context.Context, v *vocabulary, s situation, what action) error {
	switch what.do {
	case nothing, ask:
		return nil
	case deleteIt:
		return a.delete(ctx, v, s.node, s.node.revision, what.policy)
	case dropOwners:
		return a.dropOwners(ctx, v, s.node, what.uids)
	case unblock:
		revision, err := a.unblock(ctx, v, s.node)
		if err != nil || revision == "" {
			return err
		}
		return a.delete(ctx, v, s.node, revision, what.policy)
	case dropFinalizer:
		return a.dropFinalizer(ctx, v, s.node, what.finalizer)
	case orphan:
		for _, d := range s.dependents {
			if err := a.dropOwners(ctx, v, d, []types.UID{s.node.uid}); err != nil {
				return err
			}
		}
		return a.dropFinalizer(ctx, v, s.node, what.finalizer)
	default:
		return fmt.Errorf("unknown action %d", what.do)
	}
}

// lookUp fills in the states of the owners that are unseen.
func (a *actor) lookUp(ctx context.Context, v *vocabulary, s *situation) error {
	s.owners = slices.Clone(s.owners)
	for i, r := range s.node.owners {
		if s.owners[i] != unseen {
			continue
		}
		state, err := a.look(ctx, v, s.node.namespace, r)
		if err != nil {
			return fmt.Errorf("look up %s %s, owner of %s: %w", r.Kind, r.Name, label(s.node), err)
		}
		s.owners[i] = state
	}
	return nil
}

// look asks the API for an owner. One that is absent will be for ever: nothing gets its UID again.
func (a *actor) look(ctx context.Context, v *vocabulary, namespace string, r metav1.OwnerReference) (state, error) {
	kind, ok := v.Resolve(r.APIVersion, r.Kind)
	if !ok {
		return unknown, nil
	}
	if !kind.Namespaced {
		namespace = ""
	}
	owner := absence{r.UID, r.APIVersion, r.Kind, namespace, r.Name}
	if a.absent.has(owner) {
		return absent, nil
	}
	found, err := a.client.Resource(kind.GroupVersionResource).Namespace(namespace).Get(ctx, r.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && found.UID != r.UID:
		a.absent.add(owner)
		return absent, nil
	case err != nil:
		return unseen, err
	case newNode(kind.GroupResource(), found).waiting():
		return waits, nil
	default:
		return solid, nil
	}
}

func (a *actor) api(v *vocabulary, n node) (metadata.ResourceInterface, error) {
	kind, ok := v.byResource[n.resource]
	if !ok {
		return nil, fmt.Errorf("%s: %w", label(n), errNotServed)
	}
	return a.client.Resource(kind.GroupVersionResource).Namespace(n.namespace), nil
}

func (a *actor) delete(ctx context.Context, v *vocabulary, n node, revision string, policy metav1.DeletionPropagation) error {
	api, err := a.api(v, n)
	if err != nil {
		return err
	}
	err = api.Delete(ctx, n.name, metav1.DeleteOptions{
		PropagationPolicy: &policy,
		Preconditions:     &metav1.Preconditions{UID: &n.uid, ResourceVersion: &revision},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", label(n), err)
	}
	return nil
}

func (a *actor) dropOwners(ctx context.Context, v *vocabulary, n node, uids []types.UID) error {
	rest := slices.DeleteFunc(slices.Clone(n.owners), func(r metav1.OwnerReference) bool { return slices.Contains(uids, r.UID) })
	_, err := a.patch(ctx, v, n, "ownerReferences", rest)
	return err
}

func (a *actor) dropFinalizer(ctx context.Context, v *vocabulary, n node, finalizer string) error {
	rest := slices.DeleteFunc(slices.Clone(n.finalizers), func(f string) bool { return f == finalizer })
	_, err := a.patch(ctx, v, n, "finalizers", rest)
	return err
}

// unblock returns the resource version it made, "" if the object is gone.
func (a *actor) unblock(ctx context.Context, v *vocabulary, n node) (string, error) {
	no, owners := false, slices.Clone(n.owners)
	for i := range owners {
		owners[i].BlockOwnerDeletion = &no
	}
	return a.patch(ctx, v, n, "ownerReferences", owners)
}

// patch replaces a list in metadata, if the object is still the one that was decided on. It
// returns the new resource version, "" if the object is gone.
func (a *actor) patch(ctx context.Context, v *vocabulary, n node, field string, list any) (string, error) {
	api, err := a.api(v, n)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": n.uid, "resourceVersion": n.revision, field: list,
	}})
	if err != nil {
		return "", fmt.Errorf("encode patch: %w", err)
	}
	patched, err := api.Patch(ctx, n.name, types.MergePatchType, body, metav1.PatchOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("patch %s of %s: %w", field, label(n), err)
	default:
		return patched.ResourceVersion, nil
	}
}

// complain tells users of references to owners in another namespace: such an owner does not count.
func (a *actor) complain(v *vocabulary, s situation) {
	kind, ok := v.byResource[s.node.resource]
	if !ok {
		return
	}
	on := &corev1.ObjectReference{
		APIVersion: kind.GroupVersion().String(), Kind: kind.Name,
		Namespace: s.node.namespace, Name: s.node.name, UID: s.node.uid,
	}
	for _, r := range s.strangers {
		ref := fmt.Sprintf("[%s/%s, namespace: %s, name: %s, uid: %s]", r.APIVersion, r.Kind, s.node.namespace, r.Name, r.UID)
		a.events.Eventf(on, corev1.EventTypeWarning, "OwnerRefInvalidNamespace",
			"ownerRef %s does not exist in namespace %q", ref, s.node.namespace)
	}
}

func label(n node) string {
	if n.namespace == "" {
		return fmt.Sprintf("%s %s", n.resource, n.name)
	}
	return fmt.Sprintf("%s %s/%s", n.resource, n.namespace, n.name)
}

// absence is an owner that the API does not have.
type absence struct {
	uid                               types.UID
	apiVersion, kind, namespace, name string
}

// absences spare a thousand pods of one deleted owner a thousand questions.
type absences struct {
	mu  sync.Mutex
	set map[absence]struct{}
}

// maxAbsences is when to start afresh.
const maxAbsences = 1000

func (a *absences) has(owner absence) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.set[owner]
	return ok
}

func (a *absences) add(owner absence) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.set == nil || len(a.set) >= maxAbsences {
		a.set = map[absence]struct{}{}
	}
	a.set[owner] = struct{}{}
}
