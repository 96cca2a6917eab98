//nolint:staticcheck // Endpoints are deprecated, and this is the package that keeps them
package endpoints

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
)

// D4.9, written: the mark of too many addresses comes and goes, annotations of others stay, somebody
// else's change is taken back, and the object goes with its Service.
func TestStory(t *testing.T) {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "fd00::1", IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, Selector: map[string]string{"app": "s"},
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	// One that has no annotations at all, as somebody may have left it.
	objects := []runtime.Object{svc, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}}
	for i := range 1001 {
		p := pod(fmt.Sprint("p", i), fmt.Sprintf("10.1.%d.%d fd00::%x", i/200, i%200, i+1), 80)
		p.Labels = map[string]string{"app": "s"}
		objects = append(objects, p)
	}
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	core := factory.Core().V1()
	c, err := New(Deps{Client: client, Services: core.Services(), Pods: core.Pods(), Endpoints: core.Endpoints(), Events: record.NewFakeRecorder(10)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	background.Run(t, factory, c.Run)
	api := client.CoreV1().Endpoints("default")
	becomes := func(want string) *corev1.Endpoints {
		t.Helper()
		got := ""
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			e, err := api.Get(ctx, "s", metav1.GetOptions{})
			if err != nil {
				got = "none"
			} else {
				n := 0
				for _, s := range e.Subsets {
					n += len(s.Addresses)
				}
				got = fmt.Sprintf("%d %s", n, e.Annotations[overCapacity])
			}
			if got == want {
				return e
			}
		}
		t.Fatalf("Endpoints are %q, want %q", got, want)
		return nil
	}
	e := becomes("1000 truncated").DeepCopy()
	e.Annotations["example.com/x"] = "y"
	e.Subsets = nil // and somebody meddles
	if _, err := api.Update(ctx, e, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("1000 truncated")
	if err := client.CoreV1().Pods("default").Delete(ctx, "p1000", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		e := becomes("1000 ")
		if e.Subsets[0].Addresses[0].IP == "fd00::1" && e.Annotations["example.com/x"] == "y" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("first address %s, annotations %v", e.Subsets[0].Addresses[0].IP, e.Annotations)
		}
	}
	if err := client.CoreV1().Services("default").Delete(ctx, "s", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("none")
}
