package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// condition returns the Node's condition of a type; nil if it has none.
func condition(status *corev1.NodeStatus, of corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == of {
			return &status.Conditions[i]
		}
	}
	return nil
}

func isReady(node *corev1.Node) bool {
	c := condition(&node.Status, corev1.NodeReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// silent writes into a status that nobody has heard of the node, and tells whether that changed it.
func silent(status *corev1.NodeStatus, created metav1.Time, now time.Time) bool {
	changed := false
	for _, of := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := condition(status, of)
		switch {
		case c == nil:
			status.Conditions = append(status.Conditions, corev1.NodeCondition{
				Type: of, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: created, LastTransitionTime: metav1.NewTime(now),
			})
			changed = true
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	return changed
}

// ours are the taints that follow from a Node's conditions, and nothing else.
var ours = []string{
	corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure,
	corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeUnschedulable,
}

// pressures are the conditions that keep new Pods away while they are True.
var pressures = []struct {
	of    corev1.NodeConditionType
	taint string
}{
	{corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.TaintNodeNetworkUnavailable},
}

// taints is what the Node's taints should be: those of others as they are, and ours by its conditions;
// those that drive Pods away only if that is wanted. What is there already stays with its time.
func taints(node *corev1.Node, drive bool, now time.Time) []corev1.Taint {
	var wanted []corev1.Taint
	want := func(key string, effects ...corev1.TaintEffect) {
		for _, effect := range effects {
			at := metav1.NewTime(now)
			wanted = append(wanted, corev1.Taint{Key: key, Effect: effect, TimeAdded: &at})
		}
	}
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule}
	if drive {
		effects = append(effects, corev1.TaintEffectNoExecute)
	}
	ready := condition(&node.Status, corev1.NodeReady)
	switch {
	case ready == nil:
		want(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule) // new, and nothing to flee from
	case ready.Status == corev1.ConditionFalse:
		want(corev1.TaintNodeNotReady, effects...)
	case ready.Status == corev1.ConditionUnknown:
		want(corev1.TaintNodeUnreachable, effects...)
	}
	for _, p := range pressures {
		if c := condition(&node.Status, p.of); c != nil && c.Status == corev1.ConditionTrue {
			want(p.taint, corev1.TaintEffectNoSchedule)
		}
	}
	if node.Spec.Unschedulable {
		want(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	var out []corev1.Taint
	for _, t := range node.Spec.Taints {
		i := slices.IndexFunc(wanted, func(w corev1.Taint) bool { return w.Key == t.Key && w.Effect == t.Effect })
		switch {
		case i >= 0:
			out, wanted = append(out, t), slices.Delete(wanted, i, i+1)
		case !slices.Contains(ours, t.Key):
			out = append(out, t)
		}
	}
	return append(out, wanted...)
}

func sameTaints(a, b []corev1.Taint) bool {
	return slices.EqualFunc(a, b, func(a, b corev1.Taint) bool { return a.Key == b.Key && a.Effect == b.Effect && a.Value == b.Value })
}

// driving are the taints of a Node that drive Pods away.
func driving(node *corev1.Node) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			out = append(out, t)
		}
	}
	return out
}

// leaves tells whether a Pod has to leave because of the taints, and when. since is when a taint
// without a time was first seen.
func leaves(pod *corev1.Pod, taints []corev1.Taint, since func(*corev1.Taint) time.Time) (time.Time, bool) {
	var first time.Time
	found := false
	for i := range taints {
		t := &taints[i]
		seconds, forever := tolerated(pod, t)
		if forever {
			continue
		}
		at := since(t)
		if t.TimeAdded != nil {
			at = t.TimeAdded.Time
		}
		if at = at.Add(time.Duration(seconds) * time.Second); !found || at.Before(first) {
			first, found = at, true
		}
	}
	return first, found
}

// tolerated is for how many seconds a Pod bears a taint: 0 if not at all. The shortest counts.
func tolerated(pod *corev1.Pod, taint *corev1.Taint) (seconds int64, forever bool) {
	found, limited := false, false
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		if !matches(t, taint) {
			continue
		}
		found = true
		if t.TolerationSeconds == nil {
			continue
		}
		if s := max(*t.TolerationSeconds, 0); !limited || s < seconds {
			seconds, limited = s, true
		}
	}
	return seconds, found && !limited
}

func matches(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case "", corev1.TolerationOpEqual:
		return t.Key != "" && t.Value == taint.Value
	case corev1.TolerationOpExists:
		return true
	}
	return false
}

// heard is what was last heard of a node, and when that was by the clock of this process: clocks of
// nodes do not matter.
type heard struct {
	uid       types.UID
	renewed   metav1.MicroTime
	heartbeat metav1.Time
	at        time.Time
}
