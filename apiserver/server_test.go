package apiserver

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	clientset "k8s.io/client-go/kubernetes"
	certutil "k8s.io/client-go/util/cert"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/etcd"
)

// newEtcd runs an etcd until the test ends.
func newEtcd(t testing.TB) *etcdkubernetes.Client {
	t.Helper()
	member, err := etcd.Start(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	return member.Client()
}

// startServer runs an API server until the test ends, with the ranges as ServiceCIDR "kubernetes",
// and returns a client of it that may do everything.
func startServer(t testing.TB, client *etcdkubernetes.Client, ranges ...string) (*Server, clientset.Interface) {
	t.Helper()
	return startServerWith(t, client, func(*Config) {}, ranges...)
}

// startServerWith is startServer with a change of its configuration.
func startServerWith(t testing.TB, client *etcdkubernetes.Client, change func(*Config), ranges ...string) (*Server, clientset.Interface) {
	t.Helper()
	var families []dualstack.Family
	for _, r := range ranges {
		families = append(families, dualstack.OfPrefix(netip.MustParsePrefix(r)))
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := dynamiccertificates.NewStaticCertKeyContent("test", cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := dynamiccertificates.NewStaticCAContent("test", cert)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cfg := Config{
		Etcd: client, SharedEtcd: true, Families: families, NodePorts: clusterip.DefaultNodePorts(), Listeners: []net.Listener{listener}, Serving: serving, ClientCA: ca,
		Advertise: listener.Addr().String(),
	}
	change(&cfg)
	s, err := New(ctx, cfg)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	c, err := clientset.NewForConfig(s.Identity(&user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}))
	if err != nil {
		t.Fatal(err)
	}
	s.Hook("test", func(ctx context.Context) error {
		for _, name := range []string{"default", "kube-system"} {
			_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			if err != nil {
				t.Log(err)
			}
			_, err = c.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
			if err != nil {
				t.Log(err)
			}
		}
		_, err := c.NetworkingV1().ServiceCIDRs().Create(ctx, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: ranges},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Log(err)
		}
		return nil
	})
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
		t.Logf("ready after %v", time.Since(begin))
	case err := <-done:
		t.Fatal("server stopped:", err)
	case <-time.After(10 * time.Second):
		recorder := httptest.NewRecorder()
		s.Generic.Handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/readyz?verbose", nil))
		t.Fatal("not ready:", recorder.Body)
	}
	return s, c
}

func TestServer(t *testing.T) {
	_, c := startServer(t, newEtcd(t), "10.96.0.0/16", "fd00:10:96::/112")
	policy := corev1.IPFamilyPolicyPreferDualStack
	svc, err := c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec:       corev1.ServiceSpec{Type: "NodePort", IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(svc.Spec)
	ips, err := c.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range ips.Items {
		t.Log(ip.Name, ip.Labels, ip.Spec.ParentRef, ip.ResourceVersion, svc.ResourceVersion)
	}
	if err := c.CoreV1().Services("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ips, err = c.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(ips.Items) != 0 {
		t.Fatal(ips, err)
	}
}
