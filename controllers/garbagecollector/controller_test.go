package garbagecollector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

// stage is a running collector on a fake API that deletes as the real one does: finalizers hold
// an object, and the policies foreground and orphan are finalizers.
type stage struct {
	*testing.T
	*Controller
	client *metadatafake.FakeMetadataClient
	events *record.FakeRecorder
}

var (
	owners   = schema.GroupVersionResource{Version: "v1", Resource: "replicasets"}
	children = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	clusters = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	kindOf   = map[schema.GroupVersionResource]string{owners: "ReplicaSet", children: "Pod", clusters: "Node"}
)

// served is discovery; more appears when grown.
type served struct{ grown atomic.Bool }

func (s *served) ServerGroupsAndResourcesWithContext(context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	verbs := metav1.Verbs{"get", "list", "watch", "delete", "patch"}
	list := &metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{
		{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: verbs},
		{Name: "nodes", Kind: "Node", Verbs: verbs},
		{Name: "events", Kind: "Event", Namespaced: true, Verbs: verbs},
	}}
	if s.grown.Load() {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: "replicasets", Kind: "ReplicaSet", Namespaced: true, Verbs: verbs})
	}
	return []*metav1.APIGroup{{PreferredVersion: metav1.GroupVersionForDiscovery{Version: "v1"}}}, []*metav1.APIResourceList{list}, nil
}

// object has its name for a UID. Owners are "rs/NAME", with "!" in front if they are blocked.
func object(gvr schema.GroupVersionResource, name string, named ...string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: kindOf[gvr]},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "x", UID: types.UID(name), ResourceVersion: "1"},
	}
	if gvr == clusters {
		o.Namespace = ""
	}
	for _, owner := range named {
		owner, block := strings.CutPrefix(owner, "!")
		kind, name, _ := strings.Cut(owner, "/")
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: map[string]string{"rs": "ReplicaSet", "pod": "Pod", "node": "Node"}[kind],
			Name: name, UID: types.UID(name), BlockOwnerDeletion: &block,
		})
	}
	return o
}

func start(t *testing.T, discovery *served, objects ...runtime.Object) *stage {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	s := &stage{T: t, client: metadatafake.NewSimpleMetadataClient(scheme, objects...), events: record.NewFakeRecorder(100)}
	s.client.PrependReactor("delete", "*", s.delete)
	s.client.PrependReactor("patch", "*", s.patch)
	c, err := New(Deps{Metadata: s.client, Discovery: discovery, Events: s.events}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Controller = c
	background.Run(t, nil, c.Run)
	return s
}

func everything() *served {
	s := &served{}
	s.grown.Store(true)
	return s
}

func (s *stage) get(gvr schema.GroupVersionResource, ns, name string) (*metav1.PartialObjectMetadata, error) {
	obj, err := s.client.Tracker().Get(gvr, ns, name)
	if err != nil {
		return nil, err
	}
	return obj.(*metav1.PartialObjectMetadata).DeepCopy(), nil
}

// settle stores o, or removes it if it is deleted and nothing holds it.
func (s *stage) settle(gvr schema.GroupVersionResource, o *metav1.PartialObjectMetadata) error {
	if o.DeletionTimestamp != nil && len(o.Finalizers) == 0 {
		return s.client.Tracker().Delete(gvr, o.Namespace, o.Name)
	}
	return s.client.Tracker().Update(gvr, o, o.Namespace)
}

func (s *stage) delete(a clienttesting.Action) (bool, runtime.Object, error) {
	d := a.(clienttesting.DeleteActionImpl)
	o, err := s.get(a.GetResource(), a.GetNamespace(), d.Name)
	if err != nil {
		return true, nil, err
	}
	if p := d.DeleteOptions.Preconditions; p != nil && p.UID != nil && *p.UID != o.UID {
		return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), o.Name, errors.New("other UID"))
	}
	now := metav1.Unix(1, 0)
	o.DeletionTimestamp = &now
	hold := map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents, metav1.DeletePropagationOrphan: metav1.FinalizerOrphanDependents,
	}[*d.DeleteOptions.PropagationPolicy]
	if hold != "" && !slices.Contains(o.Finalizers, hold) {
		o.Finalizers = append(o.Finalizers, hold)
	}
	return true, nil, s.settle(a.GetResource(), o)
}

func (s *stage) patch(a clienttesting.Action) (bool, runtime.Object, error) {
	_, obj, err := clienttesting.ObjectReaction(s.client.Tracker())(a)
	if err != nil {
		return true, nil, err
	}
	return true, obj, s.settle(a.GetResource(), obj.(*metav1.PartialObjectMetadata).DeepCopy())
}

// shows is what exists, with its owners, deletion and finalizers.
func (s *stage) shows() string {
	var all []string
	for _, gvr := range []schema.GroupVersionResource{owners, children, clusters} {
		list, err := s.client.Resource(gvr).List(s.Context(), metav1.ListOptions{})
		if err != nil {
			s.Error(err)
			continue
		}
		for _, o := range list.Items {
			text := o.Name
			for _, r := range o.OwnerReferences {
				text += "<" + r.Name
			}
			if o.DeletionTimestamp != nil {
				text += "(going" + fmt.Sprint(o.Finalizers) + ")"
			}
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (s *stage) want(want string) {
	s.Helper()
	eventually.Is(s, 10*time.Second, "what exists", s.shows, want)
}

// watched waits until the kinds are watched: the fake API, unlike the real one, forgets what
// happens between list and watch.
func (s *stage) watched(kinds ...schema.GroupVersionResource) {
	s.Helper()
	<-s.ready
	for _, gvr := range kinds {
		eventually.True(s, 10*time.Second, gvr.Resource+" are watched", func() bool {
			return slices.ContainsFunc(s.client.Actions(), func(a clienttesting.Action) bool { return a.Matches("watch", gvr.Resource) })
		})
	}
}

func (s *stage) remove(gvr schema.GroupVersionResource, name string, policy metav1.DeletionPropagation) {
	s.Helper()
	s.watched(owners, children)
	if err := s.client.Resource(gvr).Namespace("x").Delete(s.Context(), name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		s.Fatal(err)
	}
}

const inBackground, inForeground, orphanIt = metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan

// family is d, which owns rs/a, which owns three pods, one shared with rs/b.
func family() []runtime.Object {
	return []runtime.Object{
		object(owners, "d"), object(owners, "a", "!rs/d"), object(owners, "b"),
		object(children, "p1", "!rs/a"), object(children, "p2", "!rs/a"), object(children, "p3", "!rs/a", "!rs/b"), object(children, "q"),
	}
}

func TestPolicies(t *testing.T) {
	for policy, want := range map[metav1.DeletionPropagation]string{
		inBackground: "b p3<b q", inForeground: "b p3<b q", orphanIt: "a b p1<a p2<a p3<a<b q",
	} {
		t.Run(string(policy), func(t *testing.T) {
			s := start(t, everything(), family()...)
			s.remove(owners, "d", policy)
			s.want(want)
		})
	}
}

func TestForegroundWaits(t *testing.T) {
	held := object(children, "p", "!rs/a")
	held.Finalizers = []string{"hold/on"}
	s := start(t, everything(), object(owners, "a"), held, object(children, "q", "rs/a"))
	s.remove(owners, "a", inForeground)
	s.want("a(going[foregroundDeletion]) p<a(going[hold/on])")
	if _, err := s.client.Resource(children).Namespace("x").Patch(t.Context(), "p", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.want("")
}

func TestCircleGoes(t *testing.T) {
	s := start(t, everything(), object(owners, "a", "!rs/b"), object(owners, "b", "!rs/a"))
	s.remove(owners, "a", inForeground)
	s.want("")
}

func TestAbsentOwners(t *testing.T) {
	other := object(owners, "other")
	other.Namespace = "y"
	reborn := object(owners, "reborn")
	reborn.UID = "second"
	s := start(t, everything(), other, reborn, object(clusters, "n"), object(owners, "a"),
		object(children, "p1", "rs/gone"),               // never was
		object(children, "p2", "rs/other"),              // in another namespace
		object(children, "p3", "rs/reborn"),             // another UID
		object(children, "p4", "node/n"),                // cluster-scoped owner
		object(children, "p5", "rs/a", "rs/gone"),       // one of two
		object(clusters, "m", "rs/other"),               // cannot have such an owner
		object(children, "p6", "node/gone", "widget/a")) // cannot tell
	s.want("a m<other n other p4<n p5<a p6<gone<a reborn")
	var got []string
	for range 2 {
		got = append(got, <-s.events.Events)
	}
	slices.Sort(got)
	want := []string{
		`Warning OwnerRefInvalidNamespace ownerRef [v1/ReplicaSet, namespace: , name: other, uid: other] does not exist in namespace ""`,
		`Warning OwnerRefInvalidNamespace ownerRef [v1/ReplicaSet, namespace: x, name: other, uid: other] does not exist in namespace "x"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q\nwant %q", got, want)
	}
}

func TestOwnerCreatedAfterItsDependent(t *testing.T) {
	s := start(t, everything(), object(owners, "a"))
	s.watched(children)
	for _, o := range []*metav1.PartialObjectMetadata{object(children, "p", "rs/a"), object(children, "q", "rs/late")} {
		if err := s.client.Tracker().Create(children, o, "x"); err != nil {
			t.Fatal(err)
		}
	}
	s.want("a p<a")
}

func TestRediscovery(t *testing.T) {
	discovery := &served{}
	s := start(t, discovery, object(owners, "a"), object(children, "p", "rs/a"), object(children, "q", "rs/gone"), object(children, "r", "pod/gone"))
	s.want("a p<a q<gone") // nobody knows what a ReplicaSet is
	discovery.grown.Store(true)
	s.Rediscover()
	s.want("a p<a")
	s.remove(owners, "a", inBackground)
	s.want("")
}
