package apiserver

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// Whoever looks at IPAddresses sees both of a Service or none, and a watch from there on misses neither.
func TestAddressesTogether(t *testing.T) {
	for _, cidrs := range [][]string{{"10.96.0.0/16", "fd00:10:96::/112"}, {"fd00:10:96::/112", "10.96.0.0/16"}} {
		t.Run(fmt.Sprint(cidrs), func(t *testing.T) {
			_, c := startServer(t, newEtcd(t), cidrs...)
			policy := corev1.IPFamilyPolicyRequireDualStack
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range 150 {
					svc := &corev1.Service{
						ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("a", i%3)},
						Spec:       corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}},
					}
					if _, err := c.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
						t.Error(err)
					}
					if err := c.CoreV1().Services("default").Delete(t.Context(), svc.Name, metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				}
			}()
			for _, version := range []string{"", "0"} {
				t.Run("resourceVersion="+version, func(t *testing.T) {
					t.Parallel()
					for lists := 0; ; lists++ {
						list, err := c.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{ResourceVersion: version})
						if err != nil {
							t.Fatal(err)
						}
						if len(list.Items)%2 != 0 {
							t.Fatalf("list %d, of revision %s: %d addresses, the first %s", lists, list.ResourceVersion, len(list.Items), list.Items[0].Name)
						}
						select {
						case <-done:
							return
						default:
						}
					}
				})
			}
			t.Run("watch", func(t *testing.T) {
				t.Parallel()
				for last := false; !last; {
					select {
					case <-done:
						last = true
					default:
					}
					list, err := c.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{})
					if err != nil {
						t.Fatal(err)
					}
					there := map[string]bool{}
					for i := range list.Items {
						there[list.Items[i].Name] = true
					}
					w, err := c.NetworkingV1().IPAddresses().Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
					if err != nil {
						t.Fatal(err)
					}
					for range list.Items {
						event := <-w.ResultChan()
						if name := event.Object.(metav1.Object).GetName(); event.Type != watch.Deleted || !there[name] {
							t.Fatalf("after a list of revision %s, with %v: %s %s", list.ResourceVersion, there, event.Type, name)
						}
					}
					w.Stop()
				}
			})
		})
	}
}
