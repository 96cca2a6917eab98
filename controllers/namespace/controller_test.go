package namespace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	discoveryfake "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

// stage is a running controller on a fake API in which deletecollection removes the objects
// without finalizers and marks the others as being deleted.
type stage struct {
	*testing.T
	client   *fake.Clientset
	metadata *metadatafake.FakeMetadataClient
}

func object(apiVersion, kind, name string, finalizers ...string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name, Finalizers: finalizers},
	}
}

func going(name string) *corev1.Namespace {
	return &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: "1", DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}},
		Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"other", corev1.FinalizerKubernetes}},
		Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating},
	}
}

func served() []*metav1.APIResourceList {
	all := metav1.Verbs{"list", "delete", "deletecollection", "watch"}
	return []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: all},
			{Name: "pods/status", Kind: "Pod", Namespaced: true, Verbs: metav1.Verbs{"get"}},
			{Name: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: metav1.Verbs{"list", "delete"}},
			{Name: "nodes", Kind: "Node", Verbs: all},
			{Name: "bindings", Kind: "Binding", Namespaced: true, Verbs: metav1.Verbs{"create"}},
		}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "deployments", Kind: "Deployment", Namespaced: true, Verbs: all}}},
	}
}

func start(t *testing.T, prepare func(*stage), namespaces []runtime.Object, contents ...runtime.Object) *stage {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	s := &stage{T: t, client: fake.NewClientset(namespaces...), metadata: metadatafake.NewSimpleMetadataClient(scheme, contents...)}
	s.metadata.PrependReactor("delete-collection", "*", s.deleteCollection)
	s.client.Resources = served()
	if prepare != nil {
		prepare(s)
	}
	factory := informers.NewSharedInformerFactory(s.client, 0)
	c, err := New(Deps{
		Client: s.client, Metadata: s.metadata, Namespaces: factory.Core().V1().Namespaces(),
		Discovery: s.client.Discovery().(*discoveryfake.FakeDiscovery),
	}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, factory, c.Run)
	return s
}

func (s *stage) deleteCollection(a clienttesting.Action) (bool, runtime.Object, error) {
	gvr, ns, tracker := a.GetResource(), a.GetNamespace(), s.metadata.Tracker()
	list, err := tracker.List(gvr, schema.GroupVersionKind{Group: "fake-metadata-client-group", Version: "v1"}, ns)
	if err != nil {
		return true, nil, err
	}
	for _, item := range list.(*metav1.List).Items {
		o := item.Object.(*metav1.PartialObjectMetadata)
		if len(o.Finalizers) == 0 {
			err = errors.Join(err, tracker.Delete(gvr, ns, o.Name))
			continue
		}
		o = o.DeepCopy()
		o.DeletionTimestamp = &metav1.Time{Time: time.Unix(2, 0)}
		err = errors.Join(err, tracker.Update(gvr, o, ns))
	}
	return true, nil, err
}

// shows is the namespace as a user sees it, and what is in it.
func (s *stage) shows(name string) string {
	ns, err := s.client.CoreV1().Namespaces().Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	lines := []string{fmt.Sprint(ns.Spec.Finalizers)}
	for _, c := range ns.Status.Conditions {
		if c.Status == "True" {
			lines = append(lines, c.Message)
		}
	}
	var left []string
	for _, r := range []string{"/pods", "/configmaps", "apps/deployments"} {
		group, resource, _ := strings.Cut(r, "/")
		list, err := s.metadata.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}).Namespace("x").List(s.Context(), metav1.ListOptions{})
		if err != nil {
			s.Error(err)
			continue
		}
		for _, o := range list.Items {
			left = append(left, resource+"/"+o.Name)
		}
	}
	return strings.Join(append(lines, left...), "\n")
}

func (s *stage) want(want string) {
	s.Helper()
	eventually.Is(s, 10*time.Second, "namespace x", func() string { return s.shows("x") }, want)
}

// until waits for an action of the metadata client.
func (s *stage) until(verb, resource string) {
	s.Helper()
	eventually.True(s, 10*time.Second, verb+" "+resource, func() bool {
		return slices.ContainsFunc(s.metadata.Actions(), func(a clienttesting.Action) bool { return a.Matches(verb, resource) })
	})
}

func TestEmptyNamespaceGoesAtOnce(t *testing.T) {
	s := start(t, nil, []runtime.Object{going("x")})
	s.want("[other]")
	for _, a := range s.metadata.Actions() {
		if a.GetVerb() == "delete-collection" || a.GetResource().Resource == "nodes" || a.GetResource().Resource == "bindings" {
			t.Errorf("superfluous: %v", a)
		}
	}
}

func TestPodsFirstThenTheRest(t *testing.T) {
	s := start(t, nil, []runtime.Object{going("x")},
		object("v1", "Pod", "a", "wait/here"), object("v1", "Pod", "b"),
		object("v1", "ConfigMap", "c"), object("apps/v1", "Deployment", "d"))
	s.until("watch", "pods")
	s.want("[other kubernetes]\nSome resources are remaining: pods. has 1 resource instances\n" +
		"Some content in the namespace has finalizers remaining: wait/here in 1 resource instances\npods/a\nconfigmaps/c\ndeployments/d")
	if err := s.metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace("x").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.want("[other]")
}

func TestFailures(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	s := start(t, func(s *stage) {
		s.metadata.PrependReactor("delete", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			return refuse.Load(), nil, errors.New("no")
		})
	}, []runtime.Object{going("x")}, object("v1", "ConfigMap", "c"))
	s.want("[other kubernetes]\nFailed to delete all resource types, 1 remaining: delete configmaps: no\n" +
		"Some resources are remaining: configmaps. has 1 resource instances\nconfigmaps/c")
	refuse.Store(false)
	s.want("[other]")
}

func TestDiscoveryDown(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	s := start(t, func(s *stage) {
		s.client.PrependReactor("get", "group", func(clienttesting.Action) (bool, runtime.Object, error) {
			return down.Load(), nil, errors.New("refused")
		})
	}, []runtime.Object{going("x")})
	s.want("[other kubernetes]\nrefused")
	down.Store(false)
	s.want("[other]")
}

func TestStandardNamespaces(t *testing.T) {
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	if err := Ensure(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(t.Context(), client); err != nil {
		t.Errorf("again: %v", err)
	}
	list, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, ns := range list.Items {
		names = append(names, ns.Name)
	}
	if got, want := fmt.Sprint(names), "[default kube-node-lease kube-public kube-system]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	s := start(t, nil, []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-node-lease"}}})
	eventually.True(t, 10*time.Second, "namespaces are watched", func() bool {
		return slices.ContainsFunc(s.client.Actions(), func(a clienttesting.Action) bool { return a.Matches("watch", "namespaces") })
	})
	if err := s.client.CoreV1().Namespaces().Delete(t.Context(), "kube-node-lease", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually.Is(t, 10*time.Second, "kube-node-lease", func() string { return s.shows("kube-node-lease") }, "[]")
}
