package podgc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/duetk8s/duet/test/background"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// stage is a controller whose queue the test works off itself.
type stage struct {
	*testing.T
	*Controller
	client *fake.Clientset
	clock  *clocktesting.FakePassiveClock
}

func newStage(t *testing.T, most int, objects ...runtime.Object) *stage {
	t.Helper()
	s := &stage{T: t, client: fake.NewClientset(objects...), clock: clocktesting.NewFakePassiveClock(start)}
	shared := informers.NewSharedInformerFactory(s.client, 0)
	c, err := New(Deps{Client: s.client, Nodes: shared.Core().V1().Nodes(), Pods: shared.Core().V1().Pods(), Clock: s.clock})
	if err != nil {
		t.Fatal(err)
	}
	c.mostEnded = most
	s.Controller = c
	background.Synced(t, shared)
	c.listener.Synced(t.Context())
	s.client.ClearActions()
	return s
}

// pod is written down as "NAME [on NODE] [PHASE] [deleted] [second N]", N when it was made.
func pod(text string) *corev1.Pod {
	words := strings.Fields(text)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: words[0], Namespace: "default", UID: types.UID(words[0]), CreationTimestamp: metav1.NewTime(start)}}
	p.Status.Phase = corev1.PodPending
	for i, w := range words[1:] {
		switch w {
		case "on":
			p.Spec.NodeName = words[i+2]
		case "deleted":
			now := metav1.NewTime(start)
			p.DeletionTimestamp, p.Finalizers = &now, []string{"example.com/x"}
		case "second":
			var n int
			_, _ = fmt.Sscan(words[i+2], &n)
			p.CreationTimestamp = metav1.NewTime(start.Add(time.Duration(n) * time.Second))
		case "Running", "Succeeded", "Failed":
			p.Status.Phase = corev1.PodPhase(w)
		}
	}
	return p
}

// does has the work done and returns what was written, "patch NAME BODY" and "delete NAME GRACE".
func (s *stage) does(keys ...string) string {
	s.Helper()
	s.client.ClearActions()
	for _, k := range keys {
		key := surplus
		if k != "" {
			key = types.NamespacedName{Namespace: "default", Name: k}
		}
		if err := s.sync(s.Context(), key); err != nil {
			s.Fatal(err)
		}
	}
	var out []string
	for _, a := range s.client.Actions() {
		switch a := a.(type) {
		case clienttesting.PatchAction:
			out = append(out, fmt.Sprintf("patch %s/%s %s", a.GetName(), a.GetSubresource(), a.GetPatch()))
		case clienttesting.DeleteActionImpl:
			out = append(out, fmt.Sprintf("delete %s grace %d of %s", a.GetName(), *a.DeleteOptions.GracePeriodSeconds, *a.DeleteOptions.Preconditions.UID))
		}
	}
	return strings.Join(out, "\n")
}

// TestRemove says of each kind of Pod what becomes of it at once and when its Node has been missing
// long enough.
func TestRemove(t *testing.T) {
	const orphan = `patch p/status {"metadata":{"uid":"p"},"status":{"conditions":[{"type":"DisruptionTarget","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:00:41Z","reason":"DeletionByPodGC","message":"PodGC: node no longer exists"}],"phase":"Failed"}}
delete p grace 0 of p`
	const unborn = `patch p/status {"metadata":{"uid":"p"},"status":{"phase":"Failed"}}
delete p grace 0 of p`
	for _, tt := range []struct{ name, pod, atOnce, later string }{
		{name: "on a Node that is there", pod: "p on here Running"},
		{name: "on a Node that is gone", pod: "p on gone Running", later: orphan},
		{name: "bound, and its Node went before it could start", pod: "p on gone", later: orphan},
		{name: "on a Node that is gone, being deleted", pod: "p on gone Running deleted", later: orphan},
		{name: "ended on a Node that is gone", pod: "p on gone Succeeded", later: "delete p grace 0 of p"},
		{name: "not bound", pod: "p"},
		{name: "deleted before it was bound", pod: "p deleted", atOnce: unborn, later: unborn},
		{name: "being deleted on its Node", pod: "p on here Running deleted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, 10, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here"}}, pod(tt.pod))
			if got := s.does("p"); got != tt.atOnce {
				t.Errorf("at once:\n%s\nwant\n%s", got, tt.atOnce)
			}
			s.clock.SetTime(start.Add(quarantine - time.Second))
			if got := s.does("p"); got != tt.atOnce && tt.atOnce == "" {
				t.Errorf("too early:\n%s", got)
			}
			s.clock.SetTime(start.Add(quarantine + time.Second))
			if got := s.does("p"); got != tt.later && tt.atOnce == "" {
				t.Errorf("later:\n%s\nwant\n%s", got, tt.later)
			}
		})
	}
}

// TestNodeComesBack: a Node of that name begins the time anew, also one that only the API knows yet.
func TestNodeComesBack(t *testing.T) {
	s := newStage(t, 10, pod("p on n Running"))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	if got := s.does("p"); got != "" {
		t.Error(got)
	}
	s.clock.SetTime(start.Add(quarantine + time.Second))
	asked := false
	s.client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked = true
		return true, node, nil
	})
	if got := s.does("p"); got != "" || !asked {
		t.Errorf("asked the API: %t, and\n%s", asked, got)
	}
	if _, known := s.missing["n"]; known {
		t.Error("it is still missed")
	}
}

// TestEnded: of Pods that have ended the newest stay.
func TestEnded(t *testing.T) {
	pods := []runtime.Object{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}}
	for _, text := range []string{
		"c on n Succeeded second 3", "a on n Failed second 1", "d on n Succeeded second 4", "b on n Succeeded second 2",
		"runs on n Running second 0", "waits second 0",
	} {
		pods = append(pods, pod(text))
	}
	for most, want := range map[int]string{
		4: "", 3: "delete a grace 0 of a", 2: "delete a grace 0 of a\ndelete b grace 0 of b",
		0: "delete a grace 0 of a\ndelete b grace 0 of b\ndelete c grace 0 of c\ndelete d grace 0 of d",
	} {
		s := newStage(t, most, pods...)
		if got := s.does(""); got != want {
			t.Errorf("of four %d may stay: got\n%s\nwant\n%s", most, got, want)
		}
	}
	s := newStage(t, 3, pods...)
	s.podGone(pods[1]) // c
	if got := s.oldest(); len(got) != 0 {
		t.Errorf("three are left, and yet %v", got)
	}
	s.count(pod("e on n Succeeded second 9"))
	s.count(pod("a on n Running second 9")) // another one of that name
	if got := s.oldest(); len(got) != 0 {
		t.Errorf("three again, and yet %v", got)
	}
	s.count(pod("f on n Succeeded second 9"))
	if got := s.oldest(); !slices.Equal(got, []types.NamespacedName{{Namespace: "default", Name: "b"}}) {
		t.Errorf("too many: %v", got)
	}
}

// TestNodeGoesAgain: a Node that had gone, came back and goes once more is missed from then on.
func TestNodeGoesAgain(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	s := newStage(t, 10, pod("p on n Running"), pod("q on n Running"))
	if got := s.does("p"); got != "" {
		t.Error(got)
	}
	s.nodeMade(node)
	s.clock.SetTime(start.Add(time.Hour))
	if got := s.does("q"); got != "" {
		t.Errorf("it has been missing for no time, and yet\n%s", got)
	}
}

// TestOneStays: a Pod that cannot be deleted, because a webhook says no, keeps no other.
func TestOneStays(t *testing.T) {
	s := newStage(t, 0, pod("a Succeeded second 1"), pod("b Succeeded second 2"), pod("c Failed second 3"))
	s.client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.(clienttesting.DeleteAction).GetName() == "a" {
			return true, nil, errors.New("admission webhook says no")
		}
		return false, nil, nil
	})
	if err := s.sync(t.Context(), surplus); err == nil {
		t.Error("no error, and nobody will try again")
	}
	left, err := s.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range left.Items {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"a"}) {
		t.Errorf("%v are left, want a only", names)
	}
}
