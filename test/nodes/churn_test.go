package nodes

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/test/cluster"
)

// each is the i-th of a hundred Pods: most run on, some end, well or not, some are of the host's
// network, have volumes, cgroup limits and ports.
func each(i int) *corev1.Pod {
	script := cluster.Forever
	switch i % 10 {
	case 7:
		script = "exit 0"
	case 8:
		script = "exit 3"
	}
	return cluster.Busybox(fmt.Sprintf("p%d", i), script, func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		c := &p.Spec.Containers[0]
		switch i % 10 {
		case 3:
			c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: int32(8000 + i)}}
		case 4:
			p.Spec.HostNetwork = true
		case 5, 8:
			p.Spec.Volumes = []corev1.Volume{
				{Name: "ram", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
				{Name: "map", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "map"}}}},
			}
			c.VolumeMounts = []corev1.VolumeMount{{Name: "ram", MountPath: "/ram"}, {Name: "map", MountPath: "/map/k", SubPath: "k"}}
		case 6:
			c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi"), corev1.ResourceCPU: resource.MustParse("100m")}
		}
	})
}

func TestHundredPodsLeaveNothing(t *testing.T) {
	l := newLab(t, "--nodes", "2")
	nodes, pods := []string{"worker0", "worker1"}, l.Client.CoreV1().Pods("default")
	if _, err := l.Client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "map"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The image comes, and whatever a node makes once, it makes now.
	l.Create(t, cluster.Busybox("first0", cluster.Forever, cluster.On("worker0")), cluster.Busybox("first1", cluster.Forever, cluster.On("worker1")))
	l.Ready(t, "first0", "first1")
	l.wipe(t)
	before := map[string][]string{}
	for _, node := range nodes {
		before[node] = l.inventory(t, node)
	}
	began := time.Now()
	for i := range 100 {
		l.Create(t, each(i))
		if i%10 == 9 { // gone while it starts
			if err := pods.Delete(t.Context(), fmt.Sprintf("p%d", i), metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	cluster.Eventually(t, "all of them", func() string {
		list, err := pods.List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err.Error()
		}
		addresses := map[string]string{}
		for _, pod := range list.Items {
			if pod.DeletionTimestamp == nil && !cluster.IsReady(&pod) && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				return pod.Name + ": " + cluster.Shown(&pod.Status)
			}
			for _, ip := range pod.Status.PodIPs {
				if other := addresses[ip.IP]; other != "" && !pod.Spec.HostNetwork && cluster.IsReady(&pod) {
					t.Fatalf("%s and %s both have %s", pod.Name, other, ip.IP)
				}
				if cluster.IsReady(&pod) && !pod.Spec.HostNetwork {
					addresses[ip.IP] = pod.Name
				}
			}
		}
		return ""
	})
	t.Logf("100 Pods started within %v", time.Since(began).Round(time.Millisecond))
	l.wipe(t)
	t.Logf("and deleted within %v", time.Since(began).Round(time.Millisecond))
	for _, node := range nodes {
		cluster.Eventually(t, "an empty "+node, func() string { return difference(before[node], l.inventory(t, node)) })
	}
}

// wipe deletes all Pods and waits until they are gone from the API.
func (l *lab) wipe(t *testing.T) {
	t.Helper()
	pods := l.Client.CoreV1().Pods("default")
	if err := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the end of all Pods", func() string {
		list, err := pods.List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err.Error()
		}
		for _, pod := range list.Items {
			return fmt.Sprintf("%s and %d more are there", pod.Name, len(list.Items)-1)
		}
		return ""
	})
}
