package selection

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

func TestOf(t *testing.T) {
	informer := informers.NewSharedInformerFactory(fake.NewClientset(), time.Duration(0)).Core().V1().Services().Informer()
	selectors, err := New(informer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(informer); err != nil {
		t.Errorf("twice: %v", err)
	}
	for name, selector := range map[string]map[string]string{
		"app": {"app": "web"}, "both": {"app": "web", "tier": "front"}, "other": {"app": "web", "tier": "back"}, "none": nil,
	} {
		for _, ns := range []string{"a", "b"} {
			if err := informer.GetIndexer().Add(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{Selector: selector}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := selectors.Of("a", map[string]string{"app": "web", "tier": "front", "x": "y"})
	slices.Sort(got)
	if fmt.Sprint(got) != "[a/app a/both]" {
		t.Error(got)
	}
	if got := selectors.Of("a", nil); got != nil {
		t.Error(got)
	}

	var told []string
	handler := selectors.Pods(func(key string) { told = append(told, key) })
	before := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "b", ResourceVersion: "1", Labels: map[string]string{"app": "web", "tier": "front"}}}
	after := before.DeepCopy()
	after.ResourceVersion, after.Labels["tier"] = "2", "back"
	handler.OnUpdate(before, after)
	for _, key := range []string{"b/both", "b/other"} {
		if !slices.Contains(told, key) {
			t.Errorf("%s is not told of a change of labels: %v", key, told)
		}
	}
	told = nil
	after = before.DeepCopy()
	after.ResourceVersion = "3"
	handler.OnUpdate(before, after)
	if len(told) > 0 {
		t.Errorf("told of a change that concerns no endpoints: %v", told)
	}
	handler.OnDelete(cache.DeletedFinalStateUnknown{Obj: before})
	if len(told) != 2 {
		t.Errorf("a deletion that was missed: %v", told)
	}
}
