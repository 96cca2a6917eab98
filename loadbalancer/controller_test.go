package loadbalancer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
)

type stage struct {
	*testing.T
	client *fake.Clientset
	events *record.FakeRecorder
}

func start(t *testing.T, ps Pools, objects ...runtime.Object) *stage {
	t.Helper()
	s := &stage{T: t, client: fake.NewClientset(objects...), events: record.NewFakeRecorder(100)}
	ctx, cancel := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactory(s.client, 0)
	c, err := New(Deps{Client: s.client, Services: factory.Core().V1().Services(), Events: s.events}, Config{Pools: ps})
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		factory.Shutdown()
	})
	return s
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
	for end := time.Now().Add(10 * time.Second); s.shows(name) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("Service %s shows %q, want %q", name, s.shows(name), want)
		}
	}
}

func (s *stage) told(want string) {
	s.Helper()
	var all []string
	for len(s.events.Events) > 0 {
		all = append(all, <-s.events.Events)
	}
	if got := strings.Join(all, " | "); got != want {
		s.Errorf("events %q, want %q", got, want)
	}
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
	waitEvents(s, 2)
	s.told("Normal EnsuringLoadBalancer Ensuring load balancer | Normal EnsuredLoadBalancer Ensured load balancer")

	// One IPv4 address is all there is: the second Service waits for it.
	if _, err := s.client.CoreV1().Services("default").Create(s.Context(), service("b", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.becomes("b", "kept fd00:172:30::f001 (VIP) False PoolExhausted")
	waitEvents(s, 3)
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

func waitEvents(s *stage, n int) {
	for end := time.Now().Add(5 * time.Second); len(s.events.Events) < n && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
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
		service("gone", func(svc *corev1.Service) { svc.Finalizers, svc.DeletionTimestamp = []string{Finalizer}, &now }),
		service("last", func(svc *corev1.Service) { svc.Spec.IPFamilies = svc.Spec.IPFamilies[1:] }))
	s.becomes("last", "kept 172.30.0.192 (VIP) True Assigned")
	s.becomes("gone", "let go")
	s.becomes("other", "let go")
}
