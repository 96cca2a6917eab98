package nodelifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestLeaves(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seconds := func(n int64) *int64 { return &n }
	added := metav1.NewTime(at)
	gone := corev1.Taint{Key: "gone", Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	other := corev1.Taint{Key: "other", Value: "v", Effect: corev1.TaintEffectNoExecute}
	for name, test := range map[string]struct {
		tolerations []corev1.Toleration
		taints      []corev1.Taint
		after       int64 // -1: never
	}{
		"nothing tolerated":  {nil, []corev1.Taint{gone}, 0},
		"forever":            {[]corev1.Toleration{{Key: "gone", Operator: corev1.TolerationOpExists}}, []corev1.Taint{gone}, -1},
		"everything":         {[]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, []corev1.Taint{gone, other}, -1},
		"a while":            {[]corev1.Toleration{{Key: "gone", Operator: corev1.TolerationOpExists, TolerationSeconds: seconds(300)}}, []corev1.Taint{gone}, 300},
		"the shorter":        {[]corev1.Toleration{{Operator: corev1.TolerationOpExists, TolerationSeconds: seconds(9)}, {Key: "gone", Operator: corev1.TolerationOpExists, TolerationSeconds: seconds(300)}}, []corev1.Taint{gone}, 9},
		"negative":           {[]corev1.Toleration{{Operator: corev1.TolerationOpExists, TolerationSeconds: seconds(-9)}}, []corev1.Taint{gone}, 0},
		"one of two":         {[]corev1.Toleration{{Key: "gone", Operator: corev1.TolerationOpExists}}, []corev1.Taint{gone, other}, 0},
		"by value":           {[]corev1.Toleration{{Key: "other", Value: "v"}}, []corev1.Taint{other}, -1},
		"another value":      {[]corev1.Toleration{{Key: "other", Value: "w"}}, []corev1.Taint{other}, 0},
		"of another effect":  {[]corev1.Toleration{{Key: "gone", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}, []corev1.Taint{gone}, 0},
		"no taint, no going": {nil, nil, -1},
	} {
		when, found := leaves(&corev1.Pod{Spec: corev1.PodSpec{Tolerations: test.tolerations}}, test.taints, func(*corev1.Taint) time.Time { return at })
		if found != (test.after >= 0) || found && when.Sub(at) != time.Duration(test.after)*time.Second {
			t.Errorf("%s: %v %v", name, when.Sub(at), found)
		}
	}
}

// stage is a controller whose Nodes the test has looked at itself, as events would have it done.
type stage struct {
	*testing.T
	*Controller
	client *fake.Clientset
	clock  *clocktesting.FakePassiveClock
	events *record.FakeRecorder
}

func newStage(t *testing.T, objects ...runtime.Object) *stage {
	t.Helper()
	s := &stage{T: t, client: fake.NewClientset(objects...), clock: clocktesting.NewFakePassiveClock(start), events: record.NewFakeRecorder(1000)}
	shared := informers.NewSharedInformerFactory(s.client, 0)
	c, err := New(Deps{
		Client: s.client, Nodes: shared.Core().V1().Nodes(), Pods: shared.Core().V1().Pods(), Leases: shared.Coordination().V1().Leases(),
		Events: s.events, Clock: s.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Controller = c
	background.Synced(t, shared)
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	return s
}

// node is one that says it is Ready.
func node(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.NodeSpec{Taints: taints},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(start)}}},
	}
}

// says has a node say how it is, at the time of the controller's clock or of another, and returns when
// the controller has heard it.
func (s *stage) says(name string, status corev1.ConditionStatus, at time.Time) {
	s.Helper()
	n, err := s.client.CoreV1().Nodes().Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	ready := condition(&n.Status, corev1.NodeReady)
	ready.Status, ready.LastHeartbeatTime = status, metav1.NewTime(at)
	if _, err := s.client.CoreV1().Nodes().UpdateStatus(s.Context(), n, metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
	eventually.True(s, 10*time.Second, name+" is heard", func() bool {
		known, err := s.deps.Nodes.Lister().Get(name)
		return err == nil && condition(&known.Status, corev1.NodeReady).LastHeartbeatTime.Time.Equal(at) && isReady(known) == (status == corev1.ConditionTrue)
	})
}

// shows is the state of Nodes and Pods, one line each: "n Unknown unreachable:NoExecute", "p Ready".
func (s *stage) shows() string {
	s.Helper()
	var lines []string
	nodes, err := s.client.CoreV1().Nodes().List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		lines = append(lines, strings.TrimSpace(n.Name+" "+string(condition(&n.Status, corev1.NodeReady).Status)+" "+textOf(n.Spec.Taints)))
	}
	pods, err := s.client.CoreV1().Pods("default").List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, p := range pods.Items {
		lines = append(lines, p.Name+" "+string(p.Status.Conditions[0].Status))
	}
	return strings.Join(lines, "\n")
}

// becomes has all Nodes looked at until everything is as wanted.
func (s *stage) becomes(want string) {
	s.Helper()
	eventually.Is(s, 10*time.Second, "Nodes and Pods", func() string {
		nodes, err := s.client.CoreV1().Nodes().List(s.Context(), metav1.ListOptions{})
		if err != nil {
			s.Fatal(err)
		}
		for _, n := range nodes.Items {
			if err := s.sync(s.Context(), n.Name); err != nil {
				s.Fatal(err)
			}
		}
		return s.shows()
	}, want)
}

// textOf is "KEY:EFFECT KEY:EFFECT", without what all of Kubernetes' own keys begin with.
func textOf(taints []corev1.Taint) string {
	var out []string
	for _, t := range taints {
		out = append(out, strings.TrimPrefix(t.Key, "node.kubernetes.io/")+":"+string(t.Effect))
	}
	return strings.Join(out, " ")
}

func pod(name, on string, tolerations ...corev1.Toleration) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: on, Tolerations: tolerations},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func bears(key string, seconds int64) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}
}

// TestSilentNode follows a node from its last heartbeat until its Pods are gone, and back.
func TestSilentNode(t *testing.T) {
	s := newStage(t,
		node("m"), node("n", corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}, corev1.Taint{Key: "mine", Effect: corev1.TaintEffectNoSchedule}),
		pod("long", "n", bears(corev1.TaintNodeUnreachable, 300)), pod("short", "n"), pod("stays", "m"),
	)
	s.becomes("m True\nn True mine:NoSchedule\nlong True\nshort True\nstays True")
	s.clock.SetTime(start.Add(grace - time.Second))
	s.says("m", corev1.ConditionTrue, s.clock.Now())
	s.becomes("m True\nn True mine:NoSchedule\nlong True\nshort True\nstays True")
	s.clock.SetTime(start.Add(grace + time.Second))
	s.becomes("m True\nn Unknown mine:NoSchedule unreachable:NoSchedule unreachable:NoExecute\nlong False\nstays True")
	s.clock.SetTime(s.clock.Now().Add(299 * time.Second))
	s.says("m", corev1.ConditionTrue, s.clock.Now())
	s.becomes("m True\nn Unknown mine:NoSchedule unreachable:NoSchedule unreachable:NoExecute\nlong False\nstays True")
	s.clock.SetTime(s.clock.Now().Add(2 * time.Second))
	s.becomes("m True\nn Unknown mine:NoSchedule unreachable:NoSchedule unreachable:NoExecute\nstays True")
	s.says("n", corev1.ConditionTrue, s.clock.Now().Add(-time.Hour)) // its clock is another
	s.becomes("m True\nn True mine:NoSchedule\nstays True")
	var events []string
	for len(s.events.Events) > 0 {
		events = append(events, <-s.events.Events)
	}
	for _, want := range []string{
		"Normal NodeNotReady Node n status is now: NodeNotReady", "Warning NodeNotReady Node is not ready",
		"Normal TaintManagerEviction Marking for deletion Pod default/short", "Normal TaintManagerEviction Marking for deletion Pod default/long",
	} {
		if !slices.Contains(events, want) {
			t.Errorf("no event %q in %q", want, events)
		}
	}
}

// TestUnreadyNode: one that says itself that it is not Ready is left by its Pods too.
func TestUnreadyNode(t *testing.T) {
	s := newStage(t, node("m"), node("n"), pod("long", "n", bears(corev1.TaintNodeNotReady, 300)), pod("short", "n", bears(corev1.TaintNodeUnreachable, 300)))
	s.says("n", corev1.ConditionFalse, start)
	s.becomes("m True\nn False not-ready:NoSchedule not-ready:NoExecute\nlong False")
	s.says("n", corev1.ConditionTrue, start)
	s.becomes("m True\nn True\nlong False") // until the node says that it is Ready
}

// TestNobodyReady: when no node is heard any more nobody is driven away, however long it takes; the
// time of those that stay lost begins when the first node is back.
func TestNobodyReady(t *testing.T) {
	s := newStage(t, node("m"), node("n"), pod("a", "m", bears(corev1.TaintNodeUnreachable, 300)), pod("b", "n", bears(corev1.TaintNodeUnreachable, 300)), pod("c", "n"))
	s.becomes("m True\nn True\na True\nb True\nc True")
	s.clock.SetTime(start.Add(grace + time.Second))
	s.says("m", corev1.ConditionTrue, s.clock.Now())
	s.becomes("m True\nn Unknown unreachable:NoSchedule unreachable:NoExecute\na True\nb False")
	s.clock.SetTime(s.clock.Now().Add(grace + time.Second))
	s.becomes("m Unknown unreachable:NoSchedule\nn Unknown unreachable:NoSchedule\na False\nb False")
	s.clock.SetTime(s.clock.Now().Add(24 * time.Hour))
	s.becomes("m Unknown unreachable:NoSchedule\nn Unknown unreachable:NoSchedule\na False\nb False")
	s.says("m", corev1.ConditionTrue, s.clock.Now())
	s.becomes("m True\nn Unknown unreachable:NoSchedule unreachable:NoExecute\na False\nb False")
	s.clock.SetTime(s.clock.Now().Add(301 * time.Second))
	s.says("m", corev1.ConditionTrue, s.clock.Now())
	s.becomes("m True\nn Unknown unreachable:NoSchedule unreachable:NoExecute\na False")
	// a server that begins now finds it so, and does not take the taint's time away
	before := s.taint1("n")
	other := newStage(t, s.object("m"), s.object("n"))
	other.clock.SetTime(s.clock.Now())
	if err := other.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	if now := other.taint1("n"); !now.Equal(before) {
		t.Errorf("tainted at %v, and after a restart at %v", before, now)
	}
}

func (s *stage) object(name string) *corev1.Node {
	s.Helper()
	n, err := s.client.CoreV1().Nodes().Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// taint1 is when the Node's second taint was added.
func (s *stage) taint1(name string) *metav1.Time { return s.object(name).Spec.Taints[1].TimeAdded }

// TestTaints: conditions in, taints out.
func TestTaints(t *testing.T) {
	earlier := metav1.NewTime(start.Add(-time.Hour))
	for _, tt := range []struct {
		name, conditions, had, want, calm string // calm: when nobody is to be driven away; "": the same
		unschedulable                     bool
	}{
		{name: "ready", conditions: "Ready=True"},
		{name: "new", want: "not-ready:NoSchedule"},
		{name: "not ready", conditions: "Ready=False", want: "not-ready:NoSchedule not-ready:NoExecute", calm: "not-ready:NoSchedule"},
		{name: "silent", conditions: "Ready=Unknown", want: "unreachable:NoSchedule unreachable:NoExecute", calm: "unreachable:NoSchedule"},
		{name: "not ready, then silent", conditions: "Ready=Unknown", had: "not-ready:NoSchedule not-ready:NoExecute", want: "unreachable:NoSchedule unreachable:NoExecute", calm: "unreachable:NoSchedule"},
		{name: "back", conditions: "Ready=True", had: "unreachable:NoSchedule unreachable:NoExecute"},
		{name: "memory", conditions: "Ready=True MemoryPressure=True", want: "memory-pressure:NoSchedule"},
		{name: "disk", conditions: "Ready=True DiskPressure=True", want: "disk-pressure:NoSchedule"},
		{name: "processes", conditions: "Ready=True PIDPressure=True", want: "pid-pressure:NoSchedule"},
		{name: "network", conditions: "Ready=True NetworkUnavailable=True", want: "network-unavailable:NoSchedule"},
		{name: "relieved", conditions: "Ready=True MemoryPressure=False DiskPressure=Unknown", had: "memory-pressure:NoSchedule disk-pressure:NoSchedule"},
		{name: "cordoned", conditions: "Ready=True", unschedulable: true, want: "unschedulable:NoSchedule"},
		{name: "uncordoned", conditions: "Ready=True", had: "unschedulable:NoSchedule"},
		{name: "others' stay", conditions: "Ready=False", had: "gpu:NoExecute gpu:NoSchedule", want: "gpu:NoExecute gpu:NoSchedule not-ready:NoSchedule not-ready:NoExecute", calm: "gpu:NoExecute gpu:NoSchedule not-ready:NoSchedule"},
		{name: "out of service stays", conditions: "Ready=Unknown", had: "out-of-service:NoExecute", want: "out-of-service:NoExecute unreachable:NoSchedule unreachable:NoExecute", calm: "out-of-service:NoExecute unreachable:NoSchedule"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: tt.unschedulable}}
			for c := range strings.FieldsSeq(tt.conditions) {
				of, is, _ := strings.Cut(c, "=")
				n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeConditionType(of), Status: corev1.ConditionStatus(is)})
			}
			for had := range strings.FieldsSeq(tt.had) {
				key, effect, _ := strings.Cut(had, ":")
				if key != "gpu" {
					key = "node.kubernetes.io/" + key
				}
				n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffect(effect), TimeAdded: &earlier})
			}
			got := taints(n, true, start)
			if textOf(got) != tt.want {
				t.Errorf("got %q, want %q", textOf(got), tt.want)
			}
			if calm := textOf(taints(n, false, start)); calm != cmp.Or(tt.calm, tt.want) {
				t.Errorf("calm: got %q, want %q", calm, cmp.Or(tt.calm, tt.want))
			}
			n.Spec.Taints = got
			for _, again := range taints(n, true, start.Add(time.Minute)) {
				if again.TimeAdded.After(start) {
					t.Errorf("%s is new again", again.Key)
				}
			}
		})
	}
}

// TestSilent: what the API says of a node that was not heard for too long.
func TestSilent(t *testing.T) {
	created := metav1.NewTime(start.Add(-time.Hour))
	status := corev1.NodeStatus{Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: created},
		{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "Others"},
	}}
	if !silent(&status, created, start) || silent(&status, created, start.Add(time.Minute)) {
		t.Error("it changes once")
	}
	var got []string
	for _, c := range status.Conditions {
		got = append(got, fmt.Sprintf("%s %s %s: %s (heard %s)", c.Type, c.Status, c.Reason, c.Message, c.LastHeartbeatTime.Sub(created.Time)))
	}
	slices.Sort(got)
	const want = `DiskPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status. (heard 0s)
MemoryPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status. (heard 0s)
NetworkUnavailable False Others:  (heard`
	if text := strings.Join(got, "\n"); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "\nReady Unknown NodeStatusUnknown: Kubelet stopped posting node status. (heard 0s)") {
		t.Errorf("got\n%s", text)
	}
}

// TestOneStays: a Pod that cannot be changed or deleted, because a webhook says no, keeps no other.
func TestOneStays(t *testing.T) {
	for _, verb := range []string{"patch", "delete"} {
		n := node("n", corev1.Taint{Key: "gone", Effect: corev1.TaintEffectNoExecute})
		n.Status.Conditions[0].Status = corev1.ConditionFalse
		s := newStage(t, node("m"), n, pod("a", "n"), pod("b", "n"), pod("c", "n"))
		s.client.PrependReactor(verb, "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if a.(interface{ GetName() string }).GetName() == "b" {
				return true, nil, errors.New("admission webhook says no")
			}
			return false, nil, nil
		})
		if err := s.sync(t.Context(), "n"); err == nil {
			t.Error("no error, and nobody will try again")
		}
		pods, err := s.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != 1 || pods.Items[0].Name != "b" {
			t.Errorf("%s: %d are left, want b only", verb, len(pods.Items))
		}
	}
}

// TestTaintsThatShouldGo: when nobody is to be driven away, taints that could not be taken off yet drive
// nobody either.
func TestTaintsThatShouldGo(t *testing.T) {
	long := metav1.NewTime(start.Add(-time.Hour))
	n := node("n", corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute, TimeAdded: &long})
	n.Status.Conditions[0].Status = corev1.ConditionFalse
	s := newStage(t, n, pod("p", "n", bears(corev1.TaintNodeNotReady, 300)))
	s.client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewConflict(corev1.Resource("nodes"), "n", errors.New("somebody was faster"))
	})
	if err := s.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{}); err != nil {
		t.Errorf("no node is Ready, and yet: %v", err)
	}
}
