package servicecidr

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

// stage is a running controller on a fake API, which keeps objects with a deletionTimestamp.
type stage struct {
	*testing.T
	client *fake.Clientset
	events *record.FakeRecorder
}

func start(t *testing.T, prepare func(*fake.Clientset), objects ...runtime.Object) *stage {
	t.Helper()
	s := &stage{T: t, client: fake.NewClientset(objects...), events: record.NewFakeRecorder(10)}
	if prepare != nil {
		prepare(s.client)
	}
	factory := informers.NewSharedInformerFactory(s.client, 0)
	c, err := New(Deps{Client: s.client, CIDRs: factory.Networking().V1().ServiceCIDRs(), Events: s.events}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, factory, c.Run)
	return s
}

func address(addr string) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{
		Name: addr, Labels: map[string]string{networkingv1.LabelManagedBy: "ipallocator.k8s.io"},
	}}
}

// shows is the ServiceCIDR as a user would describe it.
func (s *stage) shows(name string) string {
	cidr, err := s.client.NetworkingV1().ServiceCIDRs().Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	text := "let go"
	if slices.Contains(cidr.Finalizers, clusterip.ServiceCIDRFinalizer) {
		text = "kept"
	}
	if c := meta.FindStatusCondition(cidr.Status.Conditions, "Ready"); c != nil {
		text += fmt.Sprintf(" Ready=%s %q %s", c.Status, c.Reason, c.Message)
	}
	return text
}

func (s *stage) wantShows(name, want string) {
	s.Helper()
	eventually.Is(s, 10*time.Second, name, func() string { return s.shows(name) }, want)
}

// witnesses are the addresses watched one by one, in order.
func (s *stage) witnesses() []string {
	var list []string
	for _, a := range s.client.Actions() {
		if w, ok := a.(clienttesting.WatchActionImpl); ok && a.GetResource().Resource == "ipaddresses" {
			name, _ := w.WatchRestrictions.Fields.RequiresExactMatch("metadata.name")
			list = append(list, name)
		}
	}
	return list
}

const (
	showsReady   = `kept Ready=True "" Kubernetes Service CIDR is ready`
	showsBlocked = `kept Ready=False "OrphanIPAddress" There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR`
)

func TestReady(t *testing.T) {
	bare := serviceCIDR("a", "10.0.0.0/24")
	bare.Finalizers = nil
	s := start(t, nil, bare, address("10.0.0.1"))
	s.wantShows("a", showsReady)
	// B4.4's message is overwritten, and afterwards nothing is written any more.
	s.client.ClearActions()
	if err := s.client.Tracker().Add(serviceCIDR("b", "fd00::/112")); err != nil {
		t.Fatal(err)
	}
	s.wantShows("b", showsReady)
	for _, a := range s.client.Actions() {
		if a.GetResource().Resource == "ipaddresses" {
			t.Errorf("looked at addresses for a ServiceCIDR that stays: %v", a)
		}
	}
}

func TestDeletionWaitsForEachAddress(t *testing.T) {
	s := start(t, nil, deleting(serviceCIDR("a", "10.0.0.0/24", "fd00::/112")),
		address("10.0.0.3"), address("fd00::3"), address("fd00::4"), address("10.9.9.9"))
	s.wantShows("a", showsBlocked)
	for left := 3; left > 0; left-- {
		before := 3 - left
		eventually.True(s, 10*time.Second, "a witness", func() bool { return len(s.witnesses()) > before })
		witness := s.witnesses()[before]
		if err := s.client.NetworkingV1().IPAddresses().Delete(t.Context(), witness, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually.True(s, 10*time.Second, "the finalizer gone", func() bool { return s.shows("a")[:3] == "let" })
}

func TestDeletionEndsWhenAnotherCovers(t *testing.T) {
	s := start(t, nil, deleting(serviceCIDR("a", "10.0.0.0/24")), address("10.0.0.3"), deleting(serviceCIDR("b", "10.0.0.0/24")))
	s.wantShows("a", showsBlocked)
	s.wantShows("b", showsBlocked)
	if _, err := s.client.NetworkingV1().ServiceCIDRs().Create(t.Context(), serviceCIDR("c", "10.0.0.0/16"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		eventually.True(s, 10*time.Second, "the finalizer gone", func() bool { return s.shows(name)[:3] == "let" })
	}
}

func TestFreeKeepsItsCondition(t *testing.T) {
	cidr := deleting(serviceCIDR("a", "10.0.0.0/24"))
	cidr.Status.Conditions = []metav1.Condition{ready()}
	user := address("10.0.0.3")
	user.Labels = nil // B5.7
	s := start(t, nil, cidr, user)
	s.wantShows("a", `let go Ready=True "" Kubernetes Service CIDR is ready`)
}

func TestConditionFailureIsReported(t *testing.T) {
	var failed atomic.Bool
	s := start(t, func(client *fake.Clientset) {
		client.PrependReactor("patch", "servicecidrs", func(a clienttesting.Action) (bool, runtime.Object, error) {
			once := a.GetSubresource() == "status" && failed.CompareAndSwap(false, true)
			return once, nil, errors.New("no")
		})
	}, serviceCIDR("a", "10.0.0.0/24"))
	s.wantShows("a", showsReady)
	if got, want := <-s.events.Events, "Warning KubernetesServiceCIDRError The ServiceCIDR Status can not be set to Ready=True"; got != want {
		t.Errorf("event %q, want %q", got, want)
	}
}

func BenchmarkProtects(b *testing.B) {
	all := []*networkingv1.ServiceCIDR{deleting(serviceCIDR("a", "10.0.0.0/16")), serviceCIDR("b", "10.0.1.0/24")}
	g, err := guardOf(all[0], all)
	if err != nil {
		b.Fatal(err)
	}
	addr := netip.MustParseAddr("10.0.7.7")
	for b.Loop() {
		g.protects(addr)
	}
}
