package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/node/internal/podstate"
)

// TestAdmission: a node of two CPUs, and Pods that ask for one each.
func TestAdmission(t *testing.T) {
	var node *corev1.Node
	two := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"cpu": resource.MustParse("2"), "pods": resource.MustParse("9")}}}
	var newer *corev1.Node // what the API says when it is asked
	a := newAdmission(func() *corev1.Node { return node }, func() *corev1.Node { return newer })
	var answers []string
	age := time.Now()
	ask := func(name string, before bool, phase corev1.PodPhase) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(age)}, Status: corev1.PodStatus{Phase: phase}}
		age = age.Add(-time.Minute) // each is older than the one before
		pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}}}
		a.ask(pod, before, func(refused *podstate.Failure) {
			answer := "yes"
			if refused != nil {
				answer = refused.Reason
			}
			answers = append(answers, name+" "+answer)
		})
	}
	expect := func(want string) {
		t.Helper()
		if got := strings.Join(answers, ", "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		answers = nil
	}
	ask("young", false, "")
	ask("old", false, "")
	ask("ran", true, corev1.PodRunning)
	ask("ended", true, corev1.PodSucceeded)
	expect("ran yes, ended yes")
	a.counted()
	expect("") // the node is not known
	node = two
	a.look()
	expect("old yes, young OutOfcpu")
	node = nil // deleted in the API
	ask("more", false, "")
	expect("more OutOfcpu")
	ask("readopted", true, corev1.PodRunning) // whatever the node is like now
	expect("readopted yes")
	a.release("ran")
	a.release("ran")
	a.release("readopted")
	ask("next", false, "")
	ask("last", false, "")
	expect("next yes, last OutOfcpu")
	newer = two.DeepCopy()
	newer.Status.Allocatable["cpu"] = resource.MustParse("3")
	ask("grown", false, "") // the scheduler knows of the third before this agent does
	expect("grown yes")
	for _, uid := range []types.UID{"old", "next", "grown"} {
		a.release(uid)
	}
	if got := fmt.Sprint(a.room.Used["cpu"], a.room.Pods, len(a.taken), len(a.held)); got != "0 0 0 0" {
		t.Errorf("left: %s", got)
	}
}

// TestRefused: a Pod that the node does not take fails, and one that follows another which has ended
// does not.
func TestRefused(t *testing.T) {
	l := newLab(t)
	cpus := func(n string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(n)}
		}
	}
	l.run("first", "exit 0", cpus("2"))
	l.until("first", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	l.run("second", forever, cpus("1500m"))
	l.until("second", "ready", ready)
	l.run("third", forever, cpus("1"))
	pod := l.until("third", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	const text = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
	if s := pod.Status; s.Reason != "OutOfcpu" || s.Message != "Pod was rejected: "+text || len(s.ContainerStatuses) > 0 {
		t.Errorf("%s", shown(pod))
	}
	l.saw("Warning OutOfcpu " + text)
	// The next agent takes over what there is, although there is no room for it now.
	l.stopAgent()
	small := l.node.Load().DeepCopy()
	small.Status.Allocatable["cpu"] = resource.MustParse("1")
	l.node.Store(small)
	l.startAgent()
	l.run("fourth", forever, cpus("1"))
	l.until("fourth", "failed", func(p *corev1.Pod) bool { return p.Status.Reason == "OutOfcpu" })
	if p := l.get("second"); !ready(p) {
		t.Errorf("%s", shown(p))
	}
	for _, name := range []string{"first", "second", "third", "fourth"} {
		l.mark(name, 1)
		l.until(name, "gone", gone)
	}
	l.empty()
}
