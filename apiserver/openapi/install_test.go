package openapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
)

// memory is a store of one kind that keeps its objects in a map by name.
type memory struct {
	kind  string
	fresh func() runtime.Object

	mu        sync.Mutex
	objects   map[string]runtime.Object
	destroyed bool
}

func (m *memory) New() runtime.Object     { return m.fresh() }
func (m *memory) NamespaceScoped() bool   { return false }
func (m *memory) GetSingularName() string { return strings.ToLower(m.kind) }
func (m *memory) Destroy()                { m.destroyed = true }

func (m *memory) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if obj := m.objects[name]; obj != nil {
		return obj.DeepCopyObject(), nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: m.kind}, name)
}

func (m *memory) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc,
	_ rest.ValidateObjectUpdateFunc, _ bool, _ *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	old, err := m.Get(ctx, name, nil)
	created := err != nil
	if created {
		old = m.fresh()
	}
	obj, err := info.UpdatedObject(ctx, old)
	if err != nil {
		return nil, false, err
	}
	meta := obj.(metav1.Object)
	if created {
		meta.SetUID("1")
		meta.SetCreationTimestamp(metav1.Now())
	}
	meta.SetResourceVersion(meta.GetResourceVersion() + "1")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[name] = obj.DeepCopyObject()
	return obj, created, nil
}

func newServer(t *testing.T) (*genericapiserver.GenericAPIServer, *memory) {
	t.Helper()
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	alpha := schema.GroupVersion{Group: networkingv1.GroupName, Version: "v1alpha1"}
	for _, gv := range []schema.GroupVersion{networkingv1.SchemeGroupVersion, alpha, {Group: alpha.Group, Version: runtime.APIVersionInternal}, {Group: "another.example", Version: "v1"}} {
		s.AddKnownTypes(gv, &networkingv1.ServiceCIDR{}, &networkingv1.ServiceCIDRList{})
		if gv.Version != runtime.APIVersionInternal {
			metav1.AddToGroupVersion(s, gv)
		}
	}
	for _, gv := range []schema.GroupVersion{corev1.SchemeGroupVersion, {Version: runtime.APIVersionInternal}} {
		s.AddKnownTypes(gv, &corev1.Namespace{}, &corev1.NamespaceList{})
	}
	codecs := serializer.NewCodecFactory(s)

	config := genericapiserver.NewConfig(codecs)
	config.ExternalAddress = "127.0.0.1:443"
	config.LoopbackClientConfig = &restclient.Config{}
	config.EffectiveVersion = basecompatibility.NewEffectiveVersionFromString("1.37", "", "")
	config.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	server, err := config.Complete(nil).New("test", genericapiserver.NewEmptyDelegate())
	if err != nil {
		t.Fatal(err)
	}
	group := func(name string, storages map[string]map[string]rest.Storage, versions ...string) *genericapiserver.APIGroupInfo {
		info := genericapiserver.NewDefaultAPIGroupInfo(name, s, runtime.NewParameterCodec(s), codecs)
		info.PrioritizedVersions = nil
		for _, version := range versions {
			info.PrioritizedVersions = append(info.PrioritizedVersions, schema.GroupVersion{Group: name, Version: version})
		}
		info.VersionedResourcesStorageMap = storages
		return &info
	}
	cidrs := &memory{kind: "ServiceCIDR", fresh: func() runtime.Object { return &networkingv1.ServiceCIDR{} }, objects: map[string]runtime.Object{}}
	namespaces := &memory{kind: "Namespace", fresh: func() runtime.Object { return &corev1.Namespace{} }, objects: map[string]runtime.Object{}}
	err = Install(server, config, Types(),
		group("", map[string]map[string]rest.Storage{"v1": {"namespaces": namespaces}}, "v1"),
		group(networkingv1.GroupName, map[string]map[string]rest.Storage{
			"v1": {"servicecidrs": cidrs}, "v1alpha1": {"servicecidrs": cidrs},
		}, "v1", "v1beta1", "v1alpha1"),
		group("another.example", map[string]map[string]rest.Storage{"v1": {"servicecidrs": cidrs}}, "v1"),
	)
	if err != nil {
		t.Fatal(err)
	}
	Register(server.Handler.NonGoRestfulMux)
	server.PrepareRun()

	if err := Install(server, config, Types(), group("empty.example", nil, "v1")); err == nil {
		t.Error("a group without resources is installed")
	}
	upper := map[string]map[string]rest.Storage{"v1": {"Upper": cidrs}}
	if err := Install(server, config, Types(), group("upper.example", upper, "v1")); err == nil {
		t.Error("a resource in upper case is installed")
	}
	return server, cidrs
}

func TestInstall(t *testing.T) {
	generic, cidrs := newServer(t)
	server := httptest.NewServer(http.HandlerFunc(generic.Handler.ServeHTTP))
	defer server.Close()
	client := &restclient.Config{Host: server.URL}

	t.Run("discovery", func(t *testing.T) {
		for name, legacy := range map[string]bool{"aggregated": false, "unaggregated": true} {
			d := discovery.NewDiscoveryClientForConfigOrDie(client)
			d.UseLegacyDiscovery = legacy
			groups, lists, err := d.ServerGroupsAndResources()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, group := range groups {
				for _, version := range group.Versions {
					got = append(got, version.GroupVersion)
				}
			}
			want := []string{"v1", "networking.k8s.io/v1", "networking.k8s.io/v1alpha1", "another.example/v1"}
			if !slices.Equal(got, want) {
				t.Errorf("%s: versions %q, want %q", name, got, want)
			}
			for _, list := range lists {
				if len(list.APIResources) != 1 {
					t.Errorf("%s: %s has resources %v", name, list.GroupVersion, list.APIResources)
				}
			}
		}
	})

	t.Run("server-side apply", func(t *testing.T) {
		c := kubernetes.NewForConfigOrDie(client).NetworkingV1().ServiceCIDRs()
		apply := func(manager, rest string) error {
			body := `{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{"name":"extra"` + rest + `}`
			_, err := c.Patch(t.Context(), "extra", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: manager})
			return err
		}
		if err := apply("one", `},"spec":{"cidrs":["10.0.0.0/24"]}`); err != nil {
			t.Fatal(err)
		}
		if err := apply("two", `,"labels":{"a":"b"}}`); err != nil {
			t.Fatal(err)
		}
		err := apply("three", `},"spec":{"cidrs":["10.1.0.0/24"]}`)
		if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.cidrs") {
			t.Errorf("a conflict over .spec.cidrs, but %v", err)
		}
		got, err := c.Get(t.Context(), "extra", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Labels["a"] != "b" || len(got.Spec.CIDRs) != 1 || len(got.ManagedFields) != 2 {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("destroy", func(t *testing.T) {
		generic.Destroy()
		if !cidrs.destroyed {
			t.Error("storage not destroyed with the server")
		}
	})
}
