package endpointslice

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
)

type stage struct {
	*testing.T
	client *fake.Clientset
	count  int
}

func start(t *testing.T, objects ...runtime.Object) *stage {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker0", Labels: map[string]string{corev1.LabelTopologyZone: "z"}}}
	s := &stage{T: t, client: fake.NewClientset(append(objects, node)...)}
	var made atomic.Int64 // the fake API makes no names, UIDs or generations
	s.client.PrependReactor("create", "endpointslices", func(action clienttesting.Action) (bool, runtime.Object, error) {
		slice := action.(clienttesting.CreateAction).GetObject().(*discoveryv1.EndpointSlice)
		slice.Name = fmt.Sprint(slice.GenerateName, made.Add(1))
		slice.UID, slice.Generation = types.UID(slice.Name), 1
		return false, nil, nil
	})
	s.client.PrependReactor("update", "endpointslices", func(action clienttesting.Action) (bool, runtime.Object, error) {
		slice := action.(clienttesting.UpdateAction).GetObject().(*discoveryv1.EndpointSlice)
		slice.UID = types.UID(slice.Name) // and forgets them
		slice.Generation++                // by which the controller knows what it has seen of its writes
		return false, nil, nil
	})
	factory := informers.NewSharedInformerFactory(s.client, 0)
	core := factory.Core().V1()
	c, err := New(Deps{
		Client: s.client, Services: core.Services(), Pods: core.Pods(), Nodes: core.Nodes(),
		Slices: factory.Discovery().V1().EndpointSlices(), Events: record.NewFakeRecorder(10),
	})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, factory, c.Run)
	return s
}

// meeting is a client whose creates of slices return when there are two of them under way.
type meeting struct {
	kubernetes.Interface
	discoveryclient.DiscoveryV1Interface
	discoveryclient.EndpointSliceInterface
	both sync.WaitGroup
}

func (m *meeting) DiscoveryV1() discoveryclient.DiscoveryV1Interface { return m }

func (m *meeting) EndpointSlices(string) discoveryclient.EndpointSliceInterface { return m }

func (m *meeting) Create(_ context.Context, s *discoveryv1.EndpointSlice, _ metav1.CreateOptions) (*discoveryv1.EndpointSlice, error) {
	m.both.Done()
	m.both.Wait()
	out := s.DeepCopy()
	out.UID = types.UID(s.AddressType)
	return out, nil
}

// Neither family waits until the other's slices are stored.
func TestBothFamiliesAtOnce(t *testing.T) {
	for name, svc := range map[string]*corev1.Service{
		"v4+v6": service(corev1.IPv4Protocol, corev1.IPv6Protocol), "v6+v4": service(corev1.IPv6Protocol, corev1.IPv4Protocol),
	} {
		t.Run(name, func(t *testing.T) {
			m := &meeting{}
			m.both.Add(2)
			factory := informers.NewSharedInformerFactory(fake.NewClientset(svc), 0)
			core := factory.Core().V1()
			c, err := New(Deps{
				Client: m, Services: core.Services(), Pods: core.Pods(), Nodes: core.Nodes(),
				Slices: factory.Discovery().V1().EndpointSlices(), Events: record.NewFakeRecorder(10),
			})
			if err != nil {
				t.Fatal(err)
			}
			background.Run(t, factory, c.Run)
			met := make(chan struct{})
			go func() {
				m.both.Wait()
				close(met)
			}()
			select {
			case <-met:
			case <-time.After(10 * time.Second):
				m.both.Done() // to let it end
				t.Error("the second family waits for the first")
			}
		})
	}
}

// What is not of the Service's families goes, whichever family it is left to.
func TestDivide(t *testing.T) {
	slice := func(of discoveryv1.AddressType) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{AddressType: of}
	}
	its, others := divide([]*discoveryv1.EndpointSlice{slice("IPv6"), slice("FQDN"), slice("IPv4"), slice("IPv6")}, corev1.IPv6Protocol)
	if len(its) != 2 || len(others) != 2 || others[0].AddressType != "FQDN" {
		t.Errorf("%v | %v", its, others)
	}
}

func service(families ...corev1.IPFamily) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.1", IPFamilies: families, Selector: map[string]string{"app": "web", "tier": "front"},
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
}

func pod(name string, ready bool, addresses ...string) *corev1.Pod {
	status := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}[ready]
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web", "tier": "front", "x": "y"}},
		Spec:       corev1.PodSpec{NodeName: "worker0"},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
	for _, a := range addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
	}
	return p
}

// becomes waits until the slices are, each "family addresses", with "!" for one that is not ready,
// "=name" for its host name.
func (s *stage) becomes(want string) {
	s.Helper()
	var got string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		list, err := s.client.DiscoveryV1().EndpointSlices("default").List(s.Context(), metav1.ListOptions{})
		if err != nil {
			s.Fatal(err)
		}
		byFamily := map[string][]string{}
		for _, slice := range list.Items {
			family := string(slice.AddressType)
			byFamily[family] = append(byFamily[family], "")
			for _, e := range slice.Endpoints {
				mark := map[bool]string{true: "", false: "!"}[*e.Conditions.Ready]
				text := fmt.Sprintf(" %s%s@%s", mark, e.Addresses[0], *e.Zone)
				if e.Hostname != nil {
					text += "=" + *e.Hostname
				}
				if *e.Conditions.Terminating {
					text += " terminating"
					if *e.Conditions.Serving {
						text += " serving"
					}
				}
				byFamily[family] = append(byFamily[family], text)
			}
		}
		var parts []string
		for _, family := range slices.Sorted(maps.Keys(byFamily)) {
			slices.Sort(byFamily[family])
			parts = append(parts, family+strings.Join(byFamily[family], ""))
		}
		if got = strings.Join(parts, "; "); got == want {
			return
		}
	}
	s.Fatalf("slices are %q, want %q", got, want)
}

func (s *stage) add(p *corev1.Pod) {
	s.Helper()
	if _, err := s.client.CoreV1().Pods("default").Create(s.Context(), p, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) update(p *corev1.Pod) {
	s.Helper()
	s.count++
	p.ResourceVersion = fmt.Sprint(1000 + s.count) // what the fake API does not do
	if _, err := s.client.CoreV1().Pods("default").Update(s.Context(), p, metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
}

func TestD4_1_Families(t *testing.T) {
	both := pod("a", true, "10.244.0.1", "fd00::1")
	for _, row := range []struct {
		name     string
		families []corev1.IPFamily
		want     string
	}{
		{"v4", []corev1.IPFamily{corev1.IPv4Protocol}, "IPv4 10.244.0.1@z"},
		{"v6", []corev1.IPFamily{corev1.IPv6Protocol}, "IPv6 fd00::1@z"},
		{"v4+v6", []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, "IPv4 10.244.0.1@z; IPv6 fd00::1@z"},
		{"v6+v4", []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, "IPv4 10.244.0.1@z; IPv6 fd00::1@z"},
	} {
		t.Run(row.name, func(t *testing.T) { start(t, service(row.families...), both.DeepCopy()).becomes(row.want) })
	}
}

// D4.3, D4.4: what a Pod adds to the slices of each family.
func TestD4_4_Endpoints(t *testing.T) {
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	orders := map[string][]corev1.IPFamily{"v4": {v4}, "v6": {v6}, "v4+v6": {v4, v6}, "v6+v4": {v6, v4}}
	for _, row := range []struct {
		name    string
		service func(*corev1.Service)
		pod     func(*corev1.Pod)
		v4, v6  string
	}{
		{"ready", nil, nil, " 10.244.0.1@z", " fd00::1@z"},
		{"addresses the other way around", nil, func(p *corev1.Pod) { slices.Reverse(p.Status.PodIPs) }, " 10.244.0.1@z", " fd00::1@z"},
		{"not ready", nil, notReady, " !10.244.0.1@z", " !fd00::1@z"},
		{"not ready, published", publish, notReady, " 10.244.0.1@z", " fd00::1@z"},
		{"terminating", nil, terminating, " !10.244.0.1@z terminating serving", " !fd00::1@z terminating serving"},
		{"terminating, published", publish, terminating, " 10.244.0.1@z terminating serving", " fd00::1@z terminating serving"},
		{"one family only", nil, func(p *corev1.Pod) { p.Status.PodIPs = p.Status.PodIPs[:1] }, " 10.244.0.1@z", ""},
		{"the other family only", nil, func(p *corev1.Pod) { p.Status.PodIPs = p.Status.PodIPs[1:] }, "", " fd00::1@z"},
		{"no address yet", nil, func(p *corev1.Pod) { p.Status.PodIPs = nil }, "", ""},
		{"succeeded", nil, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, "", ""},
		{"failed", publish, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, "", ""},
		{"host name and subdomain", nil, named("h", "web"), " 10.244.0.1@z=h", " fd00::1@z=h"},
		{"host name, another subdomain", nil, named("h", "other"), " 10.244.0.1@z", " fd00::1@z"},
		{"host name alone", nil, named("h", ""), " 10.244.0.1@z", " fd00::1@z"},
		{"subdomain alone", nil, named("", "web"), " 10.244.0.1@z", " fd00::1@z"},
		{"headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }, named("h", "web"), " 10.244.0.1@z=h", " fd00::1@z=h"},
	} {
		for order, families := range orders {
			t.Run(row.name+" "+order, func(t *testing.T) {
				svc, p := service(families...), pod("a", true, "10.244.0.1", "fd00::1")
				if row.service != nil {
					row.service(svc)
				}
				if row.pod != nil {
					row.pod(p)
				}
				var want []string
				for _, f := range []corev1.IPFamily{v4, v6} {
					if slices.Contains(families, f) {
						want = append(want, string(f)+map[corev1.IPFamily]string{v4: row.v4, v6: row.v6}[f])
					}
				}
				start(t, svc, p).becomes(strings.Join(want, "; "))
			})
		}
	}
}

func publish(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }

func notReady(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func terminating(p *corev1.Pod) {
	now := metav1.Now()
	p.DeletionTimestamp, p.Finalizers = &now, []string{"example.com/keep"}
}

func named(host, subdomain string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = host, subdomain }
}

func TestStory(t *testing.T) {
	s := start(t, service(corev1.IPv4Protocol, corev1.IPv6Protocol))
	s.becomes("IPv4; IPv6") // D4.3
	a := pod("a", false, "10.244.0.1", "fd00::1")
	s.add(a)
	s.becomes("IPv4 !10.244.0.1@z; IPv6 !fd00::1@z")
	s.update(pod("a", true, "10.244.0.1", "fd00::1"))
	s.becomes("IPv4 10.244.0.1@z; IPv6 fd00::1@z")
	s.add(pod("b", true, "10.244.0.2"))
	s.becomes("IPv4 10.244.0.1@z 10.244.0.2@z; IPv6 fd00::1@z")
	other := pod("b", true, "10.244.0.2")
	other.Labels["tier"] = "back"
	s.update(other)
	s.becomes("IPv4 10.244.0.1@z; IPv6 fd00::1@z")

	list, err := s.client.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, slice := range list.Items {
		if slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy || slice.Labels[discoveryv1.LabelServiceName] != "web" || slice.OwnerReferences[0].Kind != "Service" {
			t.Errorf("D4.2: %v %v", slice.Labels, slice.OwnerReferences)
		}
	}
	if _, err := s.client.CoreV1().Services("default").Update(t.Context(), service(corev1.IPv4Protocol), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.becomes("IPv4 10.244.0.1@z") // D4.5
}
