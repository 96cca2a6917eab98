package cluster

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Forever is a container that ends well when asked to.
const Forever = `trap "exit 0" TERM; sleep 1000 & wait`

// Busybox is a Pod of one container that runs a script.
func Busybox(name, script string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](5),
			Containers: []corev1.Container{{
				Name: "c", Image: "busybox:1.28", ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", script},
			}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

// On puts a Pod on a node.
func On(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// Create Pods.
func (l *Lab) Create(t testing.TB, pods ...*corev1.Pod) {
	t.Helper()
	for _, pod := range pods {
		if _, err := l.Client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Ready waits until the Pods are and returns them.
func (l *Lab) Ready(t testing.TB, names ...string) []*corev1.Pod {
	t.Helper()
	var pods []*corev1.Pod
	for _, name := range names {
		Eventually(t, name+" Ready", func() string {
			pod, err := l.Client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
			switch {
			case err != nil:
				return err.Error()
			case !IsReady(pod):
				return Shown(&pod.Status)
			}
			pods = append(pods, pod)
			return ""
		})
	}
	return pods
}

// IsReady tells whether a Pod is.
func IsReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Shown is a status as a person reads it.
func Shown(status *corev1.PodStatus) string {
	text, err := json.MarshalIndent(status, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
