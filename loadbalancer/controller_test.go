package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

type stage struct {
	*testing.T
	client *fake.Clientset
	events *record.FakeRecorder
}

func start(t *testing.T, ps Pools, objects ...runtime.Object) *stage {
	t.Helper()
	objects = append(objects, worker("172.30.0.3", "fd00:172:30::3"))
	s := &stage{T: t, client: fake.NewClientset(objects...), events: record.NewFakeRecorder(100)}
	factory := informers.NewSharedInformerFactory(s.client, 0)
	core := factory.Core().V1()
	c, err := New(Deps{
		Client: s.client, Services: core.Services(), Nodes: core.Nodes(), CIDRs: factory.Networking().V1().ServiceCIDRs(),
		ConfigMap: coreinformers.NewConfigMapInformer(s.client, metav1.NamespaceSystem, 0, cache.Indexers{}), Events: s.events,
	}, Config{
		Pools: ps, Pods: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")},
		Server: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, factory, c.Run)
	return s
}

func worker(addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker0"}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

func service(name string, change func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}},
	}
	if change != nil {
		change(svc)
	}
	return svc
}

// shows is what a user sees of a Service.
func (s *stage) shows(name string) string {
	svc, err := s.client.CoreV1().Services("default").Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	text := "let go"
	if slices.Contains(svc.Finalizers, Finalizer) {
		text = "kept"
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		text += fmt.Sprintf(" %s (%s)", in.IP, *in.IPMode)
	}
	if c := meta.FindStatusCondition(svc.Status.Conditions, Condition); c != nil {
		text += fmt.Sprintf(" %s %s", c.Status, c.Reason)
	}
	return text
}

func (s *stage) becomes(name, want string) {
	s.Helper()
	eventually.Is(s, 10*time.Second, "Service "+name, func() string { return s.shows(name) }, want)
}

func (s *stage) told(want string) {
	s.Helper()
	var all []string
	eventually.Is(s, 5*time.Second, "events", func() string {
		for len(s.events.Events) > 0 {
			all = append(all, <-s.events.Events)
		}
		return strings.Join(all, " | ")
	}, want)
}

func (s *stage) update(svc *corev1.Service) {
	s.Helper()
	if _, err := s.client.CoreV1().Services("default").Update(s.Context(), svc, metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
}

func TestStory(t *testing.T) {
	s := start(t, pools(t, "172.30.0.192/32,fd00:172:30::f000/116"), service("a", nil))
	s.becomes("a", "kept fd00:172:30::f000 (VIP) 172.30.0.192 (VIP) True Assigned")
	s.told("Normal EnsuringLoadBalancer Ensuring load balancer | Normal EnsuredLoadBalancer Ensured load balancer")

	// One IPv4 address is all there is: the second Service waits for it.
	if _, err := s.client.CoreV1().Services("default").Create(s.Context(), service("b", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.becomes("b", "kept fd00:172:30::f001 (VIP) False PoolExhausted")
	s.told("Normal EnsuringLoadBalancer Ensuring load balancer | Normal EnsuredLoadBalancer Ensured load balancer" +
		" | Warning SyncLoadBalancerFailed Error syncing load balancer: no IPv4 address is free in any pool")

	a, err := s.client.CoreV1().Services("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.Spec.Type = corev1.ServiceTypeClusterIP
	s.update(a)
	s.becomes("a", "let go")
	s.becomes("b", "kept fd00:172:30::f001 (VIP) 172.30.0.192 (VIP) True Assigned")
}

// What Services have when the controller starts stays theirs, whoever comes first.
func TestRecall(t *testing.T) {
	had := service("z", func(svc *corev1.Service) {
		mode := corev1.LoadBalancerIPModeVIP
		svc.Finalizers = []string{Finalizer}
		svc.Spec.IPFamilies = svc.Spec.IPFamilies[1:]
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.30.0.192", IPMode: &mode}}
	})
	s := start(t, pools(t, "172.30.0.192/31,fd00:172:30::f000/116"), service("a", nil), had)
	s.becomes("z", "kept 172.30.0.192 (VIP) True Assigned")
	s.becomes("a", "kept fd00:172:30::f000 (VIP) 172.30.0.193 (VIP) True Assigned")
}

// D7.2: somebody else's class is left alone; a deleted Service is let go.
func TestNotOurs(t *testing.T) {
	class, now := "example.com/other", metav1.Now()
	s := start(t, pools(t, "172.30.0.192/31"),
		service("other", func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = &class }),
		service("named", func(svc *corev1.Service) {
			class := Class
			svc.Spec.LoadBalancerClass, svc.Spec.IPFamilies = &class, svc.Spec.IPFamilies[1:]
		}),
		service("gone", func(svc *corev1.Service) { svc.Finalizers, svc.DeletionTimestamp = []string{Finalizer}, &now }),
		service("last", func(svc *corev1.Service) { svc.Spec.IPFamilies = svc.Spec.IPFamilies[1:] }))
	s.becomes("last", "kept 172.30.0.192 (VIP) True Assigned")
	s.becomes("named", "kept 172.30.0.193 (VIP) True Assigned")
	s.becomes("gone", "let go")
	s.becomes("other", "let go")
}

func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: ConfigMapName}, Data: data}
}

// waits for an event with a text in it, and returns those before.
func (s *stage) hears(want string) {
	s.Helper()
	for {
		select {
		case e := <-s.events.Events:
			if strings.Contains(e, want) {
				return
			}
		case <-time.After(10 * time.Second):
			s.Fatalf("no event %q", want)
		}
	}
}

// Pools of the ConfigMap come, grow, go wrong and go, and Services with them.
func TestPools(t *testing.T) {
	theirs := service("theirs", func(svc *corev1.Service) { svc.Finalizers = []string{Finalizer} }) // some cloud's
	asks := service("asks", func(svc *corev1.Service) {
		svc.Annotations = map[string]string{Annotation: "172.30.0.206, fd00:172:30::f00e"}
	})
	s := start(t, nil, service("a", nil), theirs, asks)
	maps := s.client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	put := func(data map[string]string) {
		t.Helper()
		_, err := maps.Update(t.Context(), configMap(data), metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			_, err = maps.Create(t.Context(), configMap(data), metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	// What is given by nobody else: a pool with the address of a node or of the API server, and one
	// that cannot be read.
	put(map[string]string{"control": "192.0.2.0/29,2001:db8::/120"})
	s.hears("InvalidLoadBalancerPool Not used: pool control: 192.0.2.0/29 has the address of the API server")
	s.hears("InvalidLoadBalancerPool Not used: pool control: 2001:db8::/120 has the address of the API server")
	put(map[string]string{"lan": "172.30.0.0/24", "typo": "172.30.0.192-200"})
	s.hears(`InvalidLoadBalancerPool Not used: pool typo: "172.30.0.192-200" is neither an address nor a prefix`)
	s.hears("InvalidLoadBalancerPool Not used: pool lan: 172.30.0.0/24 has the address of node worker0")
	s.becomes("a", "kept False NoPool") // IPv6 comes first
	s.becomes("asks", "kept False AddressOutsidePool")

	put(map[string]string{"lan": "172.30.0.200/32,fd00:172:30::f000/128"})
	s.becomes("asks", "kept False AddressOutsidePool")
	// Of two, one has both or each has one: whoever is first. The others wait.
	eventually.True(t, 10*time.Second, "a or theirs has addresses", func() bool { return strings.Contains(s.shows("a")+s.shows("theirs"), "True Assigned") })

	// It grows, and all have what they want.
	put(map[string]string{"lan": "172.30.0.200/29,fd00:172:30::f000/124"})
	s.becomes("asks", "kept fd00:172:30::f00e (VIP) 172.30.0.206 (VIP) True Assigned")
	for _, name := range []string{"a", "theirs"} {
		eventually.True(t, 10*time.Second, name+" has addresses", func() bool { return strings.Contains(s.shows(name), "True Assigned") })
	}

	// A node comes into the pool: what is given stays given.
	if _, err := s.client.CoreV1().Nodes().Update(t.Context(), worker("172.30.0.207"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.hears("InvalidLoadBalancerPool Not used: pool lan: 172.30.0.200/29 has the address of node worker0")
	s.becomes("asks", "kept fd00:172:30::f00e (VIP) 172.30.0.206 (VIP) True Assigned")

	if err := maps.Delete(t.Context(), ConfigMapName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "theirs", "asks"} {
		s.becomes(name, "let go")
	}
}

// Without pools load balancers are somebody else's, whatever finalizer they have.
func TestNoPools(t *testing.T) {
	class := Class
	s := start(t, nil,
		service("theirs", func(svc *corev1.Service) { svc.Finalizers = []string{Finalizer} }),
		service("named", func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = &class }))
	s.becomes("named", "kept False NoPool")
	s.becomes("theirs", "kept")
}

// D7.1: no node that could answer is worth an event.
func TestNoNodes(t *testing.T) {
	s := start(t, pools(t, "172.30.0.192/31,fd00:172:30::f000/116"), service("a", nil))
	s.hears("EnsuredLoadBalancer")
	lost := worker("172.30.0.3")
	lost.Status.Conditions[0].Status = corev1.ConditionUnknown
	if _, err := s.client.CoreV1().Nodes().Update(t.Context(), lost, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.hears("Warning UnAvailableLoadBalancer There are no available nodes for LoadBalancer")
	if _, err := s.client.CoreV1().Nodes().Update(t.Context(), worker("172.30.0.3"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.hears("Normal UpdatedLoadBalancer Updated load balancer with new hosts")
}
