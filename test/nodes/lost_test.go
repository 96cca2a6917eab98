package nodes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/test/cluster"
)

// TestNodeLost kills a node's box. It takes the 40 seconds that a node may be silent, beside other
// tests.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, "--nodes", "2")
	l.Create(t, cluster.Busybox("there", cluster.Forever, cluster.On("worker1")))
	before := l.Ready(t, "there")[0]
	l.Kill(t, cluster.Box, "worker1")
	cluster.Eventually(t, "worker1 Unknown", func() string {
		node, err := l.Client.CoreV1().Nodes().Get(t.Context(), "worker1", metav1.GetOptions{})
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
		return l.Must(t, "kubectl", "describe", "node", "worker1")
	})
	cluster.Eventually(t, "the Pod not Ready", func() string {
		pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), "there", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if cluster.IsReady(pod) {
			return cluster.Shown(&pod.Status)
		}
		return ""
	})
	l.Create(t, cluster.Busybox("elsewhere", cluster.Forever)) // nothing more goes to the lost node
	if pod := l.Ready(t, "elsewhere")[0]; pod.Spec.NodeName != "worker0" {
		t.Errorf("elsewhere went to %s", pod.Spec.NodeName)
	}
	l.Up(t)
	l.reborn(t, before)
	cluster.Eventually(t, "worker1 without taints", func() string {
		node, err := l.Client.CoreV1().Nodes().Get(t.Context(), "worker1", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if len(node.Spec.Taints) > 0 {
			return l.Must(t, "kubectl", "describe", "node", "worker1")
		}
		return ""
	})
}
