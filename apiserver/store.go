package apiserver

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/storage/etcd3"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/duetk8s/duet/apiserver/resource"
)

// backend makes the store of each resource: etcd at the bottom, then what must be atomic with a
// write, then the watch cache.
type backend struct {
	scheme       *scheme
	client       *kubernetes.Client
	compactor    etcd3.Compactor
	stop         func()
	transformers map[schema.GroupResource]value.Transformer
	// atomic wraps the raw storage of resources whose writes carry others along.
	atomic map[schema.GroupResource]func(storage.Interface) storage.Interface
	// caches are the watch caches of all stores, destroy what ends them.
	caches  []*cacher.Cacher
	destroy []func()
	clock   strokes
}

// compactEvery is how long old revisions stay readable, for watches that resume.
const compactEvery = 5 * time.Minute

func newBackend(s *scheme, client *kubernetes.Client, transformers map[schema.GroupResource]value.Transformer) *backend {
	etcdfeature.DefaultFeatureSupportChecker.CheckClient(context.Background(), endpoint{client}, storage.RequestWatchProgress)
	c := etcd3.NewCompactor(client.Client, compactEvery, clock.RealClock{}, func() {})
	return &backend{
		scheme: s, client: client, compactor: c, stop: c.Stop, transformers: transformers, clock: newStrokes(),
		atomic: map[schema.GroupResource]func(storage.Interface) storage.Interface{},
	}
}

// endpoint gives a client in this process, which has none, an endpoint to be asked for its version:
// lists are served from the watch caches only once etcd is known to report watch progress.
type endpoint struct{ *kubernetes.Client }

func (e endpoint) Endpoints() []string {
	if all := e.Client.Endpoints(); len(all) > 0 {
		return all
	}
	return []string{"embedded"}
}

// fill waits until all watch caches have their first list: until then reads are refused.
func (b *backend) fill(ctx context.Context) error {
	for _, c := range b.caches {
		if err := c.Wait(ctx); err != nil {
			return fmt.Errorf("fill the watch caches: %w", err)
		}
	}
	return nil
}

// close ends everything that reads etcd in the background.
func (b *backend) close() {
	b.stop()
	for _, destroy := range b.destroy {
		destroy()
	}
}

// codec encodes a resource as it is stored: protobuf of its first version.
func (b *backend) codec(group, version string) (runtime.Codec, runtime.GroupVersioner, error) {
	return serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
		StorageMediaType:  runtime.ContentTypeProtobuf,
		StorageSerializer: b.scheme.codecs,
		StorageVersion:    schema.GroupVersion{Group: group, Version: version},
		MemoryVersion:     schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal},
	})
}

// store builds the registry of one resource.
func (b *backend) store(r resource.Resource) (*registry.Store, error) {
	gr := schema.GroupResource{Group: r.Group, Resource: r.Plural}
	codec, versioner, err := b.codec(r.Group, versionsOf(r)[0])
	if err != nil {
		return nil, fmt.Errorf("apiserver: %s: %w", gr, err)
	}
	s := strategy{ObjectTyper: b.scheme, NameGenerator: names.SimpleNameGenerator, Resource: r}
	store := &registry.Store{
		NewFunc: r.New, NewListFunc: r.NewList,
		DefaultQualifiedResource:  gr,
		SingularQualifiedResource: schema.GroupResource{Group: r.Group, Resource: strings.ToLower(r.Kind)},
		CreateStrategy:            s, UpdateStrategy: s, DeleteStrategy: s, ResetFieldsStrategy: s,
		TableConvertor: printer{r},
	}
	if r.Begin != nil {
		store.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (registry.FinishFunc, error) {
			return nothing, r.Begin(ctx, obj, nil, len(o.DryRun) > 0)
		}
		store.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (registry.FinishFunc, error) {
			return nothing, r.Begin(ctx, obj, old, len(o.DryRun) > 0)
		}
	}
	if r.TTL != nil {
		store.TTLFunc = func(obj runtime.Object, _ uint64, _ bool) (uint64, error) { return r.TTL(obj), nil }
	}
	options := &generic.StoreOptions{
		RESTOptions: generic.RESTOptions{
			StorageConfig: &storagebackend.ConfigForResource{
				Config: storagebackend.Config{
					Prefix: "/registry", Codec: codec, EncodeVersioner: versioner, Transformer: b.transformers[gr],
					EventsHistoryWindow: storagebackend.DefaultEventsHistoryWindow,
					LeaseManagerConfig:  etcd3.NewDefaultLeaseManagerConfig(),
				},
				GroupResource: gr,
			},
			Decorator:               b.decorator(!r.NoCache),
			EnableGarbageCollection: true,
			DeleteCollectionWorkers: 4,
			ResourcePrefix:          keyPrefix(r),
		},
		AttrFunc: func(obj runtime.Object) (labels.Set, fields.Set, error) { return attributes(r, obj) },
	}
	if err := store.CompleteWithOptions(options); err != nil {
		return nil, fmt.Errorf("apiserver: %s: %w", gr, err)
	}
	return store, nil
}

func nothing(context.Context, bool) {}

// keyPrefix is where upstream keeps a resource in etcd; a few are not where their name says.
func keyPrefix(r resource.Resource) string {
	special := map[string]string{
		"services": "services/specs", "endpoints": "services/endpoints", "nodes": "minions",
		"replicationcontrollers": "controllers", "podtemplates": "podtemplates", "ingresses": "ingress",
	}
	if p, ok := special[r.Plural]; ok {
		return p
	}
	return r.Plural
}

// attributes are what selectors match: labels, name, namespace and the row's own fields.
func attributes(r resource.Resource, obj runtime.Object) (labels.Set, fields.Set, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{"metadata.name": m.GetName()}
	if !r.ClusterScoped {
		set["metadata.namespace"] = m.GetNamespace()
	}
	if r.Fields != nil {
		maps.Copy(set, r.Fields(obj))
	}
	return m.GetLabels(), set, nil
}

// decorator stacks the storage of one resource.
func (b *backend) decorator(cached bool) generic.StorageDecorator {
	return func(config *storagebackend.ConfigForResource, prefix string, keyFunc func(runtime.Object) (string, error),
		newFunc, newList func() runtime.Object, attrs storage.AttrFunc, trigger storage.IndexerFuncs, indexers *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		transformer := config.Transformer
		if transformer == nil {
			transformer = identity.NewEncryptCheckTransformer()
		}
		versioner := storage.APIObjectVersioner{}
		raw, err := etcd3.New(b.client, b.compactor, config.Codec, newFunc, newList, config.Prefix, prefix, config.GroupResource,
			transformer, config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
		if err != nil {
			return nil, nil, err
		}
		var s storage.Interface = prompt{raw}
		if wrap := b.atomic[config.GroupResource]; wrap != nil {
			s = wrap(s)
		}
		if !cached {
			return s, raw.Close, nil
		}
		c, err := cacher.NewCacherFromConfig(cacher.Config{
			Storage: s, Versioner: versioner, GroupResource: config.GroupResource, EventsHistoryWindow: config.EventsHistoryWindow,
			ResourcePrefix: prefix, KeyFunc: keyFunc, NewFunc: newFunc, NewListFunc: newList, GetAttrsFunc: attrs,
			IndexerFuncs: trigger, Indexers: indexers, Codec: config.Codec, Clock: b.clock,
		})
		if err != nil {
			return nil, nil, err
		}
		delegator := cacher.NewCacheDelegator(c, s)
		destroy := sync.OnceFunc(func() { delegator.Stop(); c.Stop(); raw.Close() })
		b.caches, b.destroy = append(b.caches, c), append(b.destroy, destroy)
		return delegator, destroy, nil
	}
}

// prompt is the raw storage with one difference: whoever asks for the current revision is going to
// wait until a watch cache has reached it, so the watch is asked for its progress at once. The
// cache itself would ask only every 100 ms, which every `kubectl get` would notice.
type prompt struct{ storage.Interface }

// GetCurrentResourceVersion returns etcd's revision and has the watches told about it.
func (p prompt) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	revision, err := p.Interface.GetCurrentResourceVersion(ctx)
	if err == nil {
		err = p.RequestWatchProgress(ctx)
	}
	return revision, err
}

// object is what a resource serves at its own path: the store with its short names.
type object struct {
	*registry.Store
	row resource.Resource
}

var (
	_ rest.ShortNamesProvider = object{}
	_ rest.CategoriesProvider = object{}
)

func (o object) ShortNames() []string { return o.row.Short }
func (o object) Categories() []string { return o.row.Categories }

// Create is the store's, but says 400 of what cannot be new.
func (o object) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	out, err := o.Store.Create(ctx, obj, validate, options)
	return out, refused(err)
}

// Update is the store's, but says 400 of a patch that cannot be applied.
func (o object) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return o.Store.Update(ctx, name, clientsChange{info}, create, update, force, options)
}

// Watch is the store's, but says 422 of a revision that is none, where the store's error is nobody's
// fault in particular: 500.
func (o object) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	w, err := o.Store.Watch(ctx, options)
	if err != nil {
		return nil, storeerrors.InterpretWatchError(err, o.DefaultQualifiedResource, "")
	}
	return w, nil
}

// status is what a resource serves at its /status path.
type status struct {
	store *registry.Store
	reset rest.ResetFieldsStrategy
}

var (
	_ rest.Patcher             = status{}
	_ rest.ResetFieldsStrategy = status{}
)

// newStatus shares the storage of a store under the rules for statuses.
func newStatus(of *registry.Store) status {
	s := statusStrategy{of.UpdateStrategy.(strategy)}
	store := *of
	store.UpdateStrategy, store.ResetFieldsStrategy = s, s
	store.BeginCreate, store.BeginUpdate = nil, nil
	return status{store: &store, reset: s}
}

func (s status) New() runtime.Object { return s.store.New() }
func (s status) Destroy()            {} // the store is destroyed with its object

func (s status) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset.GetResetFields()
}

func (s status) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, o)
}

// Update writes the status; it never creates.
func (s status) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, clientsChange{info}, create, update, false, o)
}

func (s status) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, obj, options)
}
