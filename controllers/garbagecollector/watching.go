package garbagecollector

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/controllers/catalog"
)

// vocabulary is the kinds served at one moment. It does not change.
type vocabulary struct {
	catalog.Catalog
	byResource map[schema.GroupResource]catalog.Kind
}

func newVocabulary(c catalog.Catalog) *vocabulary {
	v := &vocabulary{Catalog: c, byResource: map[schema.GroupResource]catalog.Kind{}}
	for _, k := range c.Kinds {
		v.byResource[k.GroupResource()] = k
	}
	return v
}

// watched are the kinds that can be collected and seen.
func (v *vocabulary) watched(ignore []schema.GroupResource) map[schema.GroupResource]catalog.Kind {
	set := map[schema.GroupResource]catalog.Kind{}
	for _, k := range v.Kinds {
		if k.Can("delete", "list", "watch") {
			set[k.GroupResource()] = k
		}
	}
	for _, r := range ignore {
		delete(set, r)
	}
	return set
}

// follow feeds the graph with all objects of a kind until ctx ends.
func follow(ctx context.Context, client metadata.Interface, kind catalog.Kind, into *feed) {
	api := client.Resource(kind.GroupVersionResource)
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return api.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, options)
		},
	}, client)
	cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, into, cache.ReflectorOptions{
		Name: "garbagecollector " + kind.GroupResource().String(),
	}).RunWithContext(ctx)
}

// feed is the store that a reflector writes to; it keeps nothing and hands all to the graph.
type feed struct {
	ctx      context.Context //nolint:containedctx // the methods of a store take none
	resource schema.GroupResource
	change   func(ctx context.Context, f func(*graph, marks))
	listed   func(*graph, marks, schema.GroupResource)
}

var _ cache.TransformingStore = (*feed)(nil)

// Add takes in a created object.
func (f *feed) Add(obj any) error {
	n, err := f.node(obj)
	if err == nil {
		f.change(f.ctx, func(g *graph, m marks) { g.put(n, m) })
	}
	return err
}

// Update takes in a changed object.
func (f *feed) Update(obj any) error { return f.Add(obj) }

// Delete takes out an object that is gone.
func (f *feed) Delete(obj any) error {
	n, err := f.node(obj)
	if err == nil {
		f.change(f.ctx, func(g *graph, m marks) { g.remove(n.uid, m) })
	}
	return err
}

// Replace takes in a complete list.
func (f *feed) Replace(list []any, _ string) error {
	nodes := make([]*node, len(list))
	for i, obj := range list {
		n, err := f.node(obj)
		if err != nil {
			return err
		}
		nodes[i] = n
	}
	f.change(f.ctx, func(g *graph, m marks) {
		g.replace(f.resource, nodes, m)
		f.listed(g, m, f.resource)
	})
	return nil
}

// Resync has nothing to do.
func (f *feed) Resync() error { return nil }

// Transformer drops what the graph does not need before a long list piles it up.
func (f *feed) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
			o.Labels, o.Annotations, o.ManagedFields = nil, nil, nil
		}
		return obj, nil
	}
}

func (f *feed) node(obj any) (*node, error) {
	o, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("watch %s: got a %T", f.resource, obj)
	}
	return newNode(f.resource, o), nil
}
