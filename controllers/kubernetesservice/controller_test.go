package kubernetesservice

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

type stage struct {
	*testing.T
	*Controller
	client *fake.Clientset
	events *record.FakeRecorder
	run    func() (stop func())
}

func newStage(t *testing.T, ranges string, shared bool, objects ...runtime.Object) *stage {
	t.Helper()
	s := &stage{T: t, client: fake.NewClientset(objects...), events: record.NewFakeRecorder(10)}
	factory := informers.NewSharedInformerFactory(s.client, 0)
	c, err := New(Deps{Client: s.client, CIDRs: factory.Networking().V1().ServiceCIDRs(), Events: s.events}, Config{
		Ranges: prefixes(ranges), Port: 6443, Shared: shared,
		Advertise: []netip.Addr{netip.MustParseAddr("172.30.0.2"), netip.MustParseAddr("fd00:30::2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Controller = c
	s.run = func() func() { return background.Run(t, factory, c.Run) }
	return s
}

// shows is all that the controller keeps, one line per object.
func (s *stage) shows() string {
	var lines []string
	add := func(err error, format string, args ...any) {
		if err == nil {
			lines = append(lines, fmt.Sprintf(format, args...))
		} else if !apierrors.IsNotFound(err) {
			s.Error(err)
		}
	}
	ctx := s.Context()
	cidr, err := s.client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
	ready := ""
	if err == nil {
		if c := meta.FindStatusCondition(cidr.Status.Conditions, "Ready"); c != nil {
			ready = string(c.Status) + " " + c.Message
		}
	}
	add(err, "servicecidr %v %s", cidr.Spec.CIDRs, ready)
	svc, err := s.client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	add(err, "kubernetes %v %v", svc.Spec.ClusterIPs, svc.Labels)
	dns, err := s.client.CoreV1().Services("kube-system").Get(ctx, "kube-dns", metav1.GetOptions{})
	add(err, "kube-dns %v", dns.Spec.ClusterIPs)

	ep, err := s.client.CoreV1().Endpoints("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	var ips []string
	for _, subset := range ep.Subsets {
		for _, a := range subset.Addresses {
			ips = append(ips, fmt.Sprintf("%s:%d", a.IP, subset.Ports[0].Port))
		}
	}
	add(err, "endpoints %v", ips)
	sl, err := s.client.DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	ips = nil
	for _, e := range sl.Endpoints {
		ips = append(ips, e.Addresses...)
	}
	add(err, "slice %s %v %v", sl.AddressType, ips, sl.Labels)
	return strings.Join(lines, "\n")
}

func (s *stage) want(want string) {
	s.Helper()
	eventually.Is(s, 10*time.Second, "what is kept", s.shows, want)
}

const (
	dual = `servicecidr [10.96.0.0/16 fd00::/112] True Kubernetes default Service CIDR is ready
kubernetes [10.96.0.1] map[component:apiserver provider:kubernetes]
kube-dns [10.96.0.10 fd00::a]
endpoints [172.30.0.2:6443]
slice IPv4 [172.30.0.2] map[kubernetes.io/service-name:kubernetes]`
	six = `servicecidr [fd00::/112] True Kubernetes default Service CIDR is ready
kubernetes [fd00::1] map[component:apiserver provider:kubernetes]
kube-dns [fd00::a]
endpoints [fd00:30::2:6443]
slice IPv6 [fd00:30::2] map[kubernetes.io/service-name:kubernetes]`
)

func TestEnsure(t *testing.T) {
	for ranges, want := range map[string]string{
		"10.96.0.0/16,fd00::/112": dual, "fd00::/112": six,
	} {
		t.Run(ranges, func(t *testing.T) {
			s := newStage(t, ranges, false)
			if err := s.Ensure(t.Context(), s.client); err != nil {
				t.Fatal(err)
			}
			s.want(want)
			s.client.ClearActions()
			if err := s.Ensure(t.Context(), s.client); err != nil {
				t.Fatal(err)
			}
			for _, a := range s.client.Actions() {
				if a.GetVerb() != "get" {
					t.Errorf("the second time wrote: %v", a)
				}
			}
		})
	}
}

// TestSecondRange: what was made for one range gets the family of the second when the flags have it,
// at the tenth address or, where that is taken, at any; what somebody made otherwise stays.
func TestSecondRange(t *testing.T) {
	single, selecting := corev1.IPFamilyPolicySingleStack, map[string]string{"k8s-app": "kube-dns"}
	for _, tt := range []struct {
		name, ranges, want string
		change             func(*corev1.Service)
		taken              string
	}{
		{name: "v6 beside v4", ranges: "10.96.0.0/16,fd00::/112", want: "PreferDualStack [IPv4 IPv6] [10.96.0.10 fd00::a]"},
		{name: "v4 beside v6", ranges: "fd00::/112,10.96.0.0/16", want: "PreferDualStack [IPv6 IPv4] [fd00::a 10.96.0.10]"},
		{name: "the tenth address is taken", ranges: "10.96.0.0/16,fd00::/112", taken: "fd00::a", want: "PreferDualStack [IPv4 IPv6] [10.96.0.10]"},
		{
			name: "another one's", ranges: "10.96.0.0/16,fd00::/112", want: "SingleStack [IPv4] [10.96.0.10]",
			change: func(s *corev1.Service) { s.Spec.Selector = selecting },
		},
		{
			name: "at another address", ranges: "10.96.0.0/16,fd00::/112", want: "SingleStack [IPv4] [10.96.0.53]",
			change: func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.53"} },
		},
		{name: "the other family first", ranges: "fd00::/112,10.96.0.0/16", want: "SingleStack [IPv4] [10.96.0.10]", change: func(s *corev1.Service) {
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies, s.Spec.ClusterIPs = &single, []corev1.IPFamily{corev1.IPv4Protocol}, []string{"10.96.0.10"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, _, _ := strings.Cut(tt.ranges, ",")
			before := dnsService(prefixes(first))
			if tt.change != nil {
				tt.change(before)
			}
			s := newStage(t, tt.ranges, false, before)
			s.client.PrependReactor("update", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
				ips := a.(clienttesting.UpdateAction).GetObject().(*corev1.Service).Spec.ClusterIPs
				if tt.taken != "" && slices.Contains(ips, tt.taken) {
					return true, nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), dnsName, nil)
				}
				return false, nil, nil
			})
			for range 2 { // the second time nothing is left to do
				s.client.ClearActions()
				if err := s.Ensure(t.Context(), s.client); err != nil {
					t.Fatal(err)
				}
			}
			for _, a := range s.client.Actions() {
				if a.Matches("update", "services") && tt.taken == "" {
					t.Errorf("written again: %v", a)
				}
			}
			now, err := s.client.CoreV1().Services("kube-system").Get(t.Context(), dnsName, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(*now.Spec.IPFamilyPolicy, " ", now.Spec.IPFamilies, " ", now.Spec.ClusterIPs); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEnsureLeavesARefusedServiceToRun(t *testing.T) {
	s := newStage(t, "10.96.0.0/16,fd00::/112", false)
	var refusing atomic.Bool
	refusing.Store(true)
	s.client.PrependReactor("create", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
		object := a.(clienttesting.CreateAction).GetObject().(metav1.Object)
		return refusing.Load() && object.GetName() == "kube-dns", nil, apierrors.NewInternalError(errors.New("full"))
	})
	if err := s.Ensure(t.Context(), s.client); err != nil {
		t.Fatal(err)
	}
	s.want(strings.Replace(dual, "kube-dns [10.96.0.10 fd00::a]\n", "", 1))
	refusing.Store(false)
	defer s.run()()
	s.want(dual)
}

func TestRunKeeps(t *testing.T) {
	s := newStage(t, "10.96.0.0/16,fd00::/112", false)
	defer s.run()()
	s.want(dual)
	ctx, gone := t.Context(), metav1.DeleteOptions{}
	for what, remove := range map[string]func() error{
		"kubernetes":  func() error { return s.client.CoreV1().Services("default").Delete(ctx, "kubernetes", gone) },
		"kube-dns":    func() error { return s.client.CoreV1().Services("kube-system").Delete(ctx, "kube-dns", gone) },
		"endpoints":   func() error { return s.client.CoreV1().Endpoints("default").Delete(ctx, "kubernetes", gone) },
		"slice":       func() error { return s.client.DiscoveryV1().EndpointSlices("default").Delete(ctx, "kubernetes", gone) },
		"servicecidr": func() error { return s.client.NetworkingV1().ServiceCIDRs().Delete(ctx, "kubernetes", gone) },
		"addresses": func() error {
			_, err := s.client.DiscoveryV1().EndpointSlices("default").Update(ctx, &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, AddressType: "IPv4",
			}, metav1.UpdateOptions{})
			return err
		},
	} {
		if err := remove(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		s.want(dual)
	}
}

func TestUpgradeAndEvents(t *testing.T) {
	s := newStage(t, "10.96.0.0/16,fd00::/112", false, stored("10.96.0.0/16"))
	defer s.run()()
	s.want(dual)
	s = newStage(t, "10.96.0.0/16", false, stored("10.97.0.0/16"))
	defer s.run()()
	want := "Warning KubernetesDefaultServiceCIDRInconsistent The default ServiceCIDR [10.97.0.0/16] does not match the controller flag configurations [10.96.0.0/16]"
	if got := <-s.events.Events; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestServersShareEndpoints(t *testing.T) {
	other := leaseOf(netip.MustParseAddr("172.30.0.9"), time.Now())
	s := newStage(t, "10.96.0.0/16,fd00::/112", true, other)
	if err := s.Ensure(t.Context(), s.client); err != nil {
		t.Fatal(err)
	}
	both := strings.NewReplacer("172.30.0.2:6443", "172.30.0.2:6443 172.30.0.9:6443", "[172.30.0.2]", "[172.30.0.2 172.30.0.9]").Replace(dual)
	s.want(both)
	stop := s.run()
	s.want(both)
	stop()
	s.want(strings.NewReplacer("172.30.0.2", "172.30.0.9").Replace(dual))
}

func TestNewRefusesAFamilyWithoutAddress(t *testing.T) {
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	_, err := New(Deps{Client: client, CIDRs: factory.Networking().V1().ServiceCIDRs()}, Config{
		Ranges: prefixes("fd00::/112"), Advertise: []netip.Addr{netip.MustParseAddr("172.30.0.2")},
	})
	want := `service IP family "fd00::/112" must match public address family "172.30.0.2"`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
