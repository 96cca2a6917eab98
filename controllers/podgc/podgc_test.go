package podgc

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestRemove(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	pod := func(name, node string, deleted bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PodSpec{NodeName: node}}
		if deleted {
			now := metav1.NewTime(clock.Now())
			p.DeletionTimestamp, p.Finalizers = &now, []string{"example.com/x"}
		}
		return p
	}
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here"}},
		pod("stays", "here", false), pod("orphan", "gone", false), pod("pending", "", false), pod("never-ran", "", true))
	shared := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Deps{Client: client, Nodes: shared.Core().V1().Nodes(), Pods: shared.Core().V1().Pods(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	shared.Start(ctx.Done())
	defer shared.Shutdown()
	defer stop()
	shared.WaitForCacheSync(ctx.Done())
	deleted := func() map[string]bool {
		for _, name := range []string{"stays", "orphan", "pending", "never-ran"} {
			if err := c.sync(ctx, types.NamespacedName{Namespace: "default", Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		out := map[string]bool{}
		for _, a := range client.Actions() {
			if d, ok := a.(interface{ GetName() string }); ok && a.GetVerb() == "delete" {
				out[d.GetName()] = true
			}
		}
		return out
	}
	if got := deleted(); len(got) != 1 || !got["never-ran"] {
		t.Error("at once:", got)
	}
	clock.SetTime(clock.Now().Add(quarantine + time.Second))
	if got := deleted(); len(got) != 2 || !got["orphan"] {
		t.Error("after the quarantine:", got)
	}
}
