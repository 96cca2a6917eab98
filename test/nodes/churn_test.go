package nodes

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// forever is a container that ends well when asked to.
const forever = `trap "exit 0" TERM; sleep 1000 & wait`

// busybox is a Pod of one container that runs a script.
func busybox(name, script string, change ...func(*corev1.Pod)) *corev1.Pod {
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

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func (l *lab) create(t *testing.T, pods ...*corev1.Pod) {
	t.Helper()
	for _, pod := range pods {
		if _, err := l.client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// each is the i-th of a hundred Pods: most run on, some end, well or not, some are of the host's
// network, have volumes, cgroup limits and ports.
func each(i int) *corev1.Pod {
	script := forever
	switch i % 10 {
	case 7:
		script = "exit 0"
	case 8:
		script = "exit 3"
	}
	return busybox(fmt.Sprintf("p%d", i), script, func(p *corev1.Pod) {
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
	nodes, pods := []string{"worker0", "worker1"}, l.client.CoreV1().Pods("default")
	if _, err := l.client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "map"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The image comes, and whatever a node makes once, it makes now.
	l.create(t, busybox("first0", forever, on("worker0")), busybox("first1", forever, on("worker1")))
	l.ready(t, "first0", "first1")
	l.wipe(t)
	before := map[string][]string{}
	for _, node := range nodes {
		before[node] = l.inventory(t, node)
	}
	began := time.Now()
	for i := range 100 {
		l.create(t, each(i))
		if i%10 == 9 { // gone while it starts
			if err := pods.Delete(t.Context(), fmt.Sprintf("p%d", i), metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all of them", func() string {
		list, err := pods.List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err.Error()
		}
		addresses := map[string]string{}
		for _, pod := range list.Items {
			if pod.DeletionTimestamp == nil && !isReady(&pod) && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				return pod.Name + ": " + shown(&pod.Status)
			}
			for _, ip := range pod.Status.PodIPs {
				if other := addresses[ip.IP]; other != "" && !pod.Spec.HostNetwork && isReady(&pod) {
					t.Fatalf("%s and %s both have %s", pod.Name, other, ip.IP)
				}
				if isReady(&pod) && !pod.Spec.HostNetwork {
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
		eventually(t, "an empty "+node, func() string { return difference(before[node], l.inventory(t, node)) })
	}
}

// wipe deletes all Pods and waits until they are gone from the API.
func (l *lab) wipe(t *testing.T) {
	t.Helper()
	pods := l.client.CoreV1().Pods("default")
	if err := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of all Pods", func() string {
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
