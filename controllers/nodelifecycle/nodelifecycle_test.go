package nodelifecycle

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
)

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

// TestSilentNode follows a node from its last heartbeat until its Pods are gone, and back.
func TestSilentNode(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	seconds := int64(300)
	pod := func(name string, tolerations ...corev1.Toleration) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "u"},
			Spec:       corev1.PodSpec{NodeName: "n", Tolerations: tolerations},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}
	}
	client := fake.NewClientset(
		&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}, {Key: "mine", Effect: corev1.TaintEffectNoSchedule}}},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(clock.Now())}}},
		},
		pod("short"), pod("long", corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}),
	)
	shared := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Deps{
		Client: client, Nodes: shared.Core().V1().Nodes(), Pods: shared.Core().V1().Pods(), Leases: shared.Coordination().V1().Leases(),
		Events: record.NewFakeRecorder(100), Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	shared.Start(ctx.Done())
	defer shared.Shutdown()
	defer stop()
	shared.WaitForCacheSync(ctx.Done())
	// until works on the node, as events would have it done, until what is wanted has come.
	until := func(what string, wanted func(keys map[string]bool, pods map[string]bool) bool) {
		t.Helper()
		keys, pods := map[string]bool{}, map[string]bool{}
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if err := c.sync(ctx, "n"); err != nil {
				t.Fatal(err)
			}
			clear(keys)
			clear(pods)
			node, err := client.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, taint := range node.Spec.Taints {
				keys[taint.Key+":"+string(taint.Effect)] = true
			}
			for _, name := range []string{"short", "long"} {
				p, err := client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
				if err == nil {
					pods[name] = p.Status.Conditions[0].Status == corev1.ConditionTrue
				} else if !apierrors.IsNotFound(err) {
					t.Fatal(err)
				}
			}
			if wanted(keys, pods) {
				return
			}
		}
		t.Fatal("never:", what, keys, pods)
	}
	until("untainted", func(keys, pods map[string]bool) bool {
		return len(keys) == 1 && keys["mine:NoSchedule"] && pods["short"] && pods["long"]
	})
	clock.SetTime(clock.Now().Add(grace + time.Second))
	until("unreachable, and one Pod gone", func(keys, pods map[string]bool) bool {
		_, left := pods["short"]
		return len(keys) == 3 && keys[corev1.TaintNodeUnreachable+":NoExecute"] && keys[corev1.TaintNodeUnreachable+":NoSchedule"] && !left
	})
	until("not ready, but still there", func(_, pods map[string]bool) bool {
		ready, left := pods["long"]
		return left && !ready
	})
	clock.SetTime(clock.Now().Add(301 * time.Second))
	until("both gone", func(_, pods map[string]bool) bool { return len(pods) == 0 })
	node, err := client.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := condition(&node.Status, corev1.NodeReady)
	ready.Status, ready.LastHeartbeatTime = corev1.ConditionTrue, metav1.NewTime(clock.Now().Add(-time.Hour)) // its clock is another
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	until("back", func(keys, _ map[string]bool) bool { return len(keys) == 1 })
}
