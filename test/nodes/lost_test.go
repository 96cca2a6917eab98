package nodes

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestNodeLost kills a node's box. It takes the 40 seconds that a node may be silent, so it runs
// with DUET_LOST=1 only.
func TestNodeLost(t *testing.T) {
	if os.Getenv("DUET_LOST") == "" {
		t.Skip("waits for the grace period of nodes; DUET_LOST=1 runs it")
	}
	l := newLab(t, "--nodes", "2")
	l.create(t, busybox("there", forever, on("worker1")))
	before := l.ready(t, "there")[0]
	l.kill(t, box, "worker1")
	eventually(t, "worker1 Unknown", func() string {
		node, err := l.client.CoreV1().Nodes().Get(t.Context(), "worker1", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		tainted := false
		for _, taint := range node.Spec.Taints {
			tainted = tainted || taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoExecute
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown && c.Reason == "NodeStatusUnknown" && tainted {
				return ""
			}
		}
		return l.must(t, "kubectl", "describe", "node", "worker1")
	})
	eventually(t, "the Pod not Ready", func() string {
		pod, err := l.client.CoreV1().Pods("default").Get(t.Context(), "there", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if isReady(pod) {
			return shown(&pod.Status)
		}
		return ""
	})
	l.create(t, busybox("elsewhere", forever)) // nothing more goes to the lost node
	if pod := l.ready(t, "elsewhere")[0]; pod.Spec.NodeName != "worker0" {
		t.Errorf("elsewhere went to %s", pod.Spec.NodeName)
	}
	l.up(t)
	l.reborn(t, before)
	eventually(t, "worker1 without taints", func() string {
		node, err := l.client.CoreV1().Nodes().Get(t.Context(), "worker1", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if len(node.Spec.Taints) > 0 {
			return l.must(t, "kubectl", "describe", "node", "worker1")
		}
		return ""
	})
}
