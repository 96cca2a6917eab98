package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientset "k8s.io/client-go/kubernetes"
)

func newService(name string, policy corev1.IPFamilyPolicy, kind corev1.ServiceType) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.ServiceSpec{Type: kind, IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// held is what Services have and what is claimed, each sorted, one "ADDRESS namespace/name" a line.
func held(t testing.TB, c clientset.Interface, client *etcdkubernetes.Client) (services, claims []string) {
	t.Helper()
	list, err := c.CoreV1().Services("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, svc := range list.Items {
		for _, ip := range svc.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				services = append(services, fmt.Sprintf("%s %s/%s", ip, svc.Namespace, svc.Name))
			}
		}
		for _, p := range svc.Spec.Ports {
			if p.NodePort != 0 {
				services = append(services, fmt.Sprintf("%d %s/%s", p.NodePort, svc.Namespace, svc.Name))
			}
		}
	}
	addresses, err := c.NetworkingV1().IPAddresses().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range addresses.Items {
		claims = append(claims, fmt.Sprintf("%s %s/%s", ip.Name, ip.Spec.ParentRef.Namespace, ip.Spec.ParentRef.Name))
	}
	ports, err := client.Client.Get(context.Background(), nodePortPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range ports.Kvs {
		var claim portClaim
		if err := json.Unmarshal(kv.Value, &claim); err != nil {
			t.Fatal(err)
		}
		claims = append(claims, fmt.Sprintf("%s %s/%s", strings.TrimPrefix(string(kv.Key), nodePortPrefix), claim.Namespace, claim.Name))
	}
	slices.Sort(services)
	slices.Sort(claims)
	return services, claims
}

func checkHeld(t testing.TB, c clientset.Interface, client *etcdkubernetes.Client) {
	t.Helper()
	services, claims := held(t, c, client)
	if !slices.Equal(services, claims) {
		t.Errorf("Services and claims differ\nServices: %v\nclaims:   %v", services, claims)
	}
	for i := 1; i < len(services); i++ {
		if a, b := strings.Fields(services[i-1]), strings.Fields(services[i]); a[0] == b[0] {
			t.Errorf("%s is held twice: %s and %s", a[0], a[1], b[1])
		}
	}
}

// Two servers on one etcd, small ranges, everybody at once: the transaction is the only lock.
func TestTwoServersNeverShareAnAddress(t *testing.T) {
	for _, ranges := range [][]string{
		{"10.96.0.0/28"},
		{"fd00:10:96::/124"},
		{"10.96.0.0/28", "fd00:10:96::/124"},
		{"fd00:10:96::/124", "10.96.0.0/28"},
	} {
		t.Run(strings.Join(ranges, " "), func(t *testing.T) {
			client := newEtcd(t)
			_, first := startServer(t, client, ranges...)
			_, second := startServer(t, client, ranges...)
			servers := []clientset.Interface{first, second}
			var wg sync.WaitGroup
			for worker := range 8 {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(worker)))
					for i := range 40 {
						mutate(t, servers[random.IntN(2)], random, fmt.Sprintf("s%d-%d", worker, i%3))
					}
				})
			}
			wg.Wait()
			checkHeld(t, first, client)
			checkHeld(t, second, client)
		})
	}
}

// mutate does one random thing to the Service of that name. A refusal for want of an address, or
// because the Service is not there or there already, is an answer like any other.
func mutate(t testing.TB, c clientset.Interface, random *rand.Rand, name string) {
	ctx, services := context.Background(), c.CoreV1().Services("default")
	policies := []corev1.IPFamilyPolicy{corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack}
	kinds := []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer}
	var err error
	switch random.IntN(4) {
	case 0, 1:
		_, err = services.Create(ctx, newService(name, policies[random.IntN(2)], kinds[random.IntN(3)]), metav1.CreateOptions{})
	case 2:
		patch := fmt.Sprintf(`{"spec":{"ipFamilyPolicy":%q,"type":%q}}`, policies[random.IntN(2)], kinds[random.IntN(3)])
		_, err = services.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	case 3:
		err = services.Delete(ctx, name, metav1.DeleteOptions{})
	}
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
	case strings.Contains(err.Error(), "range is full"):
	case strings.Contains(err.Error(), "already allocated"):
		t.Errorf("nobody asked for an address, yet: %v", err)
	default:
		t.Error(err)
	}
}

// The audit finds nothing wherever Services come from, and what is broken by hand.
func TestAudit(t *testing.T) {
	for _, ranges := range [][]string{
		{"10.96.0.0/16"}, {"fd00:10:96::/112"}, {"10.96.0.0/16", "fd00:10:96::/112"}, {"fd00:10:96::/112", "10.96.0.0/16"},
	} {
		client := newEtcd(t)
		s, c := startServer(t, client, ranges...)
		svc, err := c.CoreV1().Services("default").Create(t.Context(), newService("a", corev1.IPFamilyPolicyPreferDualStack, corev1.ServiceTypeNodePort), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if found, err := s.Audit(t.Context()); err != nil || len(found) != 0 {
			t.Errorf("%v: %v %v", ranges, found, err)
		}
		if _, err := client.Delete(t.Context(), addressPrefix+svc.Spec.ClusterIP); err != nil {
			t.Fatal(err)
		}
		found, err := s.Audit(t.Context())
		if err != nil || len(found) != 1 || found[0].Rule != "B7.3" {
			t.Errorf("%v, with a claim deleted by hand: %v %v", ranges, found, err)
		}
	}
}

// Every way in which a Service can go gives its claims back.
func TestClaimsGoWithTheService(t *testing.T) {
	client := newEtcd(t)
	_, c := startServer(t, client, "10.96.0.0/16", "fd00:10:96::/112")
	services := c.CoreV1().Services("default")
	background := metav1.DeleteOptions{}
	for name, remove := range map[string]func(string) error{
		"delete": func(n string) error { return services.Delete(t.Context(), n, background) },
		"deletecollection": func(string) error {
			return c.CoreV1().RESTClient().Delete().Namespace("default").Resource("services").Do(t.Context()).Error()
		},
		"finalizer removed by a patch": func(n string) error {
			return dropFinalizer(t, c, client, n)
		},
		"foreground": func(n string) error {
			foreground := metav1.DeletePropagationForeground
			if err := services.Delete(t.Context(), n, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
				return err
			}
			_, err := services.Patch(t.Context(), n, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			svc, err := services.Create(t.Context(), newService("gone", corev1.IPFamilyPolicyRequireDualStack, corev1.ServiceTypeLoadBalancer), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if services, claims := held(t, c, client); len(claims) != 3 || !slices.Equal(services, claims) {
				t.Fatalf("before: %v %v", services, claims)
			}
			if err := remove(svc.Name); err != nil {
				t.Fatal(err)
			}
			if services, claims := held(t, c, client); len(services)+len(claims) != 0 {
				t.Errorf("after: Services %v, claims %v", services, claims)
			}
		})
	}
}

func dropFinalizer(t *testing.T, c clientset.Interface, client *etcdkubernetes.Client, name string) error {
	services := c.CoreV1().Services("default")
	patch := func(body string) error {
		_, err := services.Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{})
		return err
	}
	if err := patch(`{"metadata":{"finalizers":["example.com/wait"]}}`); err != nil {
		return err
	}
	if err := services.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if _, claims := held(t, c, client); len(claims) == 0 {
		return fmt.Errorf("claims were given back while the Service waits for its finalizer")
	}
	return patch(`{"metadata":{"finalizers":null}}`)
}

// A range that is being deleted gives no more addresses, not even to a plan made just before.
func TestRangeUnderDeletionGivesNothing(t *testing.T) {
	client := newEtcd(t)
	_, c := startServer(t, client, "10.96.0.0/28")
	cidrs := c.NetworkingV1().ServiceCIDRs()
	for round := range 20 {
		name := fmt.Sprintf("extra%d", round)
		_, err := cidrs.Create(t.Context(), &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"example.com/wait"}},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{fmt.Sprintf("10.97.%d.0/24", round)}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			if err := cidrs.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		for i := range 20 {
			wg.Go(func() {
				svc := newService(fmt.Sprintf("r%d-%d", round, i), corev1.IPFamilyPolicySingleStack, corev1.ServiceTypeClusterIP)
				svc.Spec.ClusterIP = fmt.Sprintf("10.97.%d.%d", round, i+1)
				_, err := c.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{})
				if err != nil && !strings.Contains(err.Error(), "the provided network does not match the current range") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// ServiceCIDR and Service have etcd's revisions: what was created later than the deletion must not
		// have an address of it.
		cidr, err := cidrs.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			svc := &list.Items[i]
			if strings.HasPrefix(svc.Spec.ClusterIP, fmt.Sprintf("10.97.%d.", round)) && revisionOf(svc) > revisionOf(cidr) {
				t.Errorf("%s got %s at revision %s from a range under deletion since %s", svc.Name, svc.Spec.ClusterIP, svc.ResourceVersion, cidr.ResourceVersion)
			}
		}
	}
	checkHeld(t, c, client)
}

// An address cannot be parted from its Service, and nobody can make one up.
func TestAddressOfAServiceIsProtected(t *testing.T) {
	client := newEtcd(t)
	_, c := startServer(t, client, "10.96.0.0/16")
	addresses := c.NetworkingV1().IPAddresses()
	svc, err := c.CoreV1().Services("default").Create(t.Context(), newService("a", corev1.IPFamilyPolicySingleStack, corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = addresses.Delete(t.Context(), svc.Spec.ClusterIP, metav1.DeleteOptions{})
	want := fmt.Sprintf(`ipaddresses.networking.k8s.io %q is forbidden: it is the address of Service default/a and goes when that is deleted`, svc.Spec.ClusterIP)
	if err == nil || err.Error() != want {
		t.Errorf("delete: %v\nwant: %s", err, want)
	}
	_, err = addresses.Patch(t.Context(), svc.Spec.ClusterIP, types.MergePatchType, []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("labels removed: %v", err)
	}
	own := &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.77"},
		Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "things", Name: "x", Group: "example.com"}},
	}
	if _, err = addresses.Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	wanted := newService("b", corev1.IPFamilyPolicySingleStack, corev1.ServiceTypeClusterIP)
	wanted.Spec.ClusterIP = "10.96.0.77"
	_, err = c.CoreV1().Services("default").Create(t.Context(), wanted, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("an address somebody made: %v", err)
	}
	if err = addresses.Delete(t.Context(), "10.96.0.77", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err = c.CoreV1().Services("default").Create(t.Context(), wanted, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	checkHeld(t, c, client)
}
