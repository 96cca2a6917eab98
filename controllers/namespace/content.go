package namespace

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"github.com/duetk8s/duet/controllers/catalog"
)

// parallel is how many kinds of a namespace are worked on at a time.
const parallel = 8

var pods = schema.GroupResource{Resource: "pods"}

// remainder is what is left of one kind.
type remainder struct {
	kind     catalog.Kind
	objects  int
	finalize map[string]int
	revision string // of the list that showed it
}

// contents deletes what is in namespaces.
type contents struct {
	client metadata.Interface
}

// empty deletes every object of the kinds in a namespace and tells what is left. Pods come
// first, and while any is left nothing else is touched: a terminating pod may still need its
// Secrets, and a NetworkPolicy must not go before the pods it confines.
func (c contents) empty(ctx context.Context, namespace string, kinds []catalog.Kind) (findings, []remainder) {
	var first, rest []catalog.Kind
	for _, k := range kinds {
		if k.GroupResource() == pods {
			first = append(first, k)
		} else {
			rest = append(rest, k)
		}
	}
	f, left := c.emptyAll(ctx, namespace, first)
	if !f.empty() {
		return f, left
	}
	return c.emptyAll(ctx, namespace, rest)
}

// emptyAll works on several kinds at once and adds up the results, in the order of kinds.
func (c contents) emptyAll(ctx context.Context, namespace string, kinds []catalog.Kind) (findings, []remainder) {
	results, errs := make([]remainder, len(kinds)), make([]error, len(kinds))
	var group sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i, kind := range kinds {
		slots <- struct{}{}
		group.Go(func() {
			results[i], errs[i] = c.emptyKind(ctx, namespace, kind)
			<-slots
		})
	}
	group.Wait()
	f := findings{remaining: map[schema.GroupResource]int{}, finalizer: map[string]int{}}
	var left []remainder
	for i, r := range results {
		if errs[i] != nil {
			f.deletion = append(f.deletion, errs[i])
		}
		if r.objects == 0 {
			continue
		}
		left = append(left, r)
		f.remaining[r.kind.GroupResource()] = r.objects
		for name, n := range r.finalize {
			f.finalizer[name] += n
		}
	}
	return f, left
}

// emptyKind lists first: most kinds have no object in most namespaces. Objects go with their
// default grace period, and what they own goes in the background.
func (c contents) emptyKind(ctx context.Context, namespace string, kind catalog.Kind) (remainder, error) {
	api := c.client.Resource(kind.GroupVersionResource).Namespace(namespace)
	list, err := api.List(ctx, metav1.ListOptions{})
	if gone(err) {
		return remainder{}, nil
	}
	if err != nil {
		return remainder{}, fmt.Errorf("list %s: %w", kind.Resource, err)
	}
	if !anyAlive(list) {
		return count(kind, list), nil
	}
	if err := deleteAll(ctx, api, kind, list); err != nil {
		return count(kind, list), fmt.Errorf("delete %s: %w", kind.Resource, err)
	}
	list, err = api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return remainder{}, fmt.Errorf("list %s: %w", kind.Resource, err)
	}
	return count(kind, list), nil
}

func deleteAll(ctx context.Context, api metadata.ResourceInterface, kind catalog.Kind, list *metav1.PartialObjectMetadataList) error {
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if kind.Can("deletecollection") {
		err := api.DeleteCollection(ctx, options, metav1.ListOptions{})
		if err == nil || gone(err) {
			return nil
		}
		if !apierrors.IsMethodNotSupported(err) {
			return err
		}
	}
	var errs []error
	for i := range list.Items {
		if err := api.Delete(ctx, list.Items[i].Name, options); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// gone reports whether the API says that there is no such resource.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) }

// anyAlive reports whether an object has not been deleted yet. Those that have, wait for their
// finalizers or their grace period; deleting them again tells the API nothing.
func anyAlive(list *metav1.PartialObjectMetadataList) bool {
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			return true
		}
	}
	return false
}

func count(kind catalog.Kind, list *metav1.PartialObjectMetadataList) remainder {
	r := remainder{kind: kind, objects: len(list.Items), finalize: map[string]int{}, revision: list.ResourceVersion}
	for i := range list.Items {
		for _, name := range list.Items[i].Finalizers {
			r.finalize[name]++
		}
	}
	return r
}
