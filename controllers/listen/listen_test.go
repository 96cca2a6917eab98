package listen_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/controllers/listen"
)

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// TestHandlers says what each handler is told of each event.
func TestHandlers(t *testing.T) {
	for name, row := range map[string]struct {
		handler func(tell func(string)) cache.ResourceEventHandlerFuncs
		want    string
	}{
		"objects": {func(tell func(string)) cache.ResourceEventHandlerFuncs {
			return listen.Objects(func(p *corev1.Pod) { tell(p.Name) })
		}, "added new deleted missed"},
		"seen": {func(tell func(string)) cache.ResourceEventHandlerFuncs {
			return listen.Seen(func(p *corev1.Pod, gone bool) { tell(fmt.Sprint(p.Name, ":", gone)) })
		}, "added:false new:false deleted:true missed:true"},
		"of an interface": {func(tell func(string)) cache.ResourceEventHandlerFuncs {
			return listen.Objects(func(o metav1.Object) { tell(o.GetName()) })
		}, "added new deleted missed"},
		"of another type": {func(tell func(string)) cache.ResourceEventHandlerFuncs {
			return listen.Objects(func(n *corev1.Node) { tell(n.Name) })
		}, ""},
		"both": {func(tell func(string)) cache.ResourceEventHandlerFuncs {
			return listen.Both(func(p *corev1.Pod) { tell(p.Name) })
		}, "added old new deleted missed"},
		"keys": {listen.Keys, "default/added default/new default/deleted default/missed default/unseen"},
	} {
		var told []string
		h := row.handler(func(s string) { told = append(told, s) })
		h.OnAdd(pod("added"), true)
		h.OnUpdate(pod("old"), pod("new"))
		h.OnDelete(pod("deleted"))
		h.OnDelete(cache.DeletedFinalStateUnknown{Key: "default/missed", Obj: pod("missed")})
		h.OnDelete(cache.DeletedFinalStateUnknown{Key: "default/unseen"})
		if got := strings.Join(told, " "); got != row.want {
			t.Errorf("%s: told of %q, want %q", name, got, row.want)
		}
	}
}

// TestSynced: a listener has heard of all that there is when it says so, gives up with its context, and hears
// nothing more when it has stopped.
func TestSynced(t *testing.T) {
	client := fake.NewClientset(pod("a"), pod("b"))
	factory := informers.NewSharedInformerFactory(client, 0)
	var told []string
	var l listen.Listener
	l.To(factory.Core().V1().Pods().Informer(), listen.Keys(func(key string) { told = append(told, key) }))
	l.To(factory.Core().V1().Nodes().Informer(), listen.Keys(func(string) {}))
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if l.Synced(ended) {
		t.Error("synced before the informers were started")
	}
	ctx, stop := context.WithCancel(t.Context())
	factory.StartWithContext(ctx)
	if !l.Synced(ctx) {
		t.Error("never synced")
	}
	if slices.Sort(told); strings.Join(told, " ") != "default/a default/b" {
		t.Errorf("told of %v", told)
	}
	l.Stop()
	created, heard := make(chan string), listen.Listener{}
	heard.To(factory.Core().V1().Pods().Informer(), listen.Objects(func(p *corev1.Pod) {
		if p.Name == "c" {
			close(created)
		}
	}))
	before := len(told)
	if _, err := client.CoreV1().Pods("default").Create(ctx, pod("c"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	<-created
	stop()
	factory.Shutdown()
	if len(told) != before {
		t.Errorf("told of %v after Stop", told[before:])
	}
	l.To(factory.Core().V1().Pods().Informer(), listen.Keys(func(string) {}))
	if l.Err() == nil {
		t.Error("nothing said about an informer that has been stopped")
	}
}
