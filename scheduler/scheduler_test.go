package scheduler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/duetk8s/duet/test/background"
)

// events keeps what is recorded.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) Event(obj runtime.Object, kind, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprintf("%s %s %s: %s", obj.(*corev1.Pod).Name, kind, reason, message))
}

func (e *events) Eventf(obj runtime.Object, kind, reason, format string, args ...any) {
	e.Event(obj, kind, reason, fmt.Sprintf(format, args...))
}

func (e *events) AnnotatedEventf(obj runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	e.Eventf(obj, kind, reason, format, args...)
}

// take returns the events since the last call.
func (e *events) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := strings.Join(e.all, "\n")
	e.all = nil
	return out
}

// story is a scheduler on a fake API whose bindings work as those of a server.
type story struct {
	t      *testing.T
	client *fake.Clientset
	events *events

	mu     sync.Mutex
	refuse error // the answer to bindings; nil lets them happen
	bound  int
}

// run plays a story with a scheduler running.
func run(t *testing.T, play func(*story)) {
	synctest.Test(t, func(t *testing.T) {
		s := &story{t: t, client: fake.NewClientset(), events: &events{}}
		s.client.PrependReactor("create", "pods", s.bind)
		factory := informers.NewSharedInformerFactory(s.client, 0)
		scheduler, err := New(Deps{Client: s.client, Pods: factory.Core().V1().Pods(), Nodes: factory.Core().V1().Nodes(), Events: s.events}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		stop := background.Run(t, factory, scheduler.Run)
		synctest.Wait()
		play(s)
		stop()
		time.Sleep(time.Minute) // timers of retries
	})
}

func (s *story) bind(action clienttesting.Action) (bool, runtime.Object, error) {
	if action.GetSubresource() != "binding" {
		return false, nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound++
	if s.refuse != nil {
		return true, nil, s.refuse
	}
	b := action.(clienttesting.CreateAction).GetObject().(*corev1.Binding)
	obj, err := s.client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("pods"), b.Namespace, b.Name)
	if err != nil {
		return true, nil, err
	}
	p := obj.(*corev1.Pod).DeepCopy()
	p.Spec.NodeName = b.Target.Name
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	return true, b, s.client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), p, b.Namespace)
}

func (s *story) answer(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

func (s *story) must(_ any, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// addNode waits until the scheduler knows the node: its informers are not in step with each other.
func (s *story) addNode(text string) {
	s.must(s.client.CoreV1().Nodes().Create(s.t.Context(), nodeFrom(s.t, text), metav1.CreateOptions{}))
	synctest.Wait()
}

func (s *story) updateNode(text string) {
	s.must(s.client.CoreV1().Nodes().Update(s.t.Context(), nodeFrom(s.t, text), metav1.UpdateOptions{}))
}

func (s *story) addPod(text string) {
	s.must(s.client.CoreV1().Pods("default").Create(s.t.Context(), podFrom(s.t, text), metav1.CreateOptions{}))
}

func (s *story) updatePod(text string) {
	s.must(s.client.CoreV1().Pods("default").Update(s.t.Context(), podFrom(s.t, text), metav1.UpdateOptions{}))
}

func (s *story) deletePod(name string) {
	s.must(nil, s.client.CoreV1().Pods("default").Delete(s.t.Context(), name, metav1.DeleteOptions{}))
}

// expect lets everything that needs no time happen, and compares where the Pods are: "p:a q:-".
func (s *story) expect(want string) {
	s.t.Helper()
	synctest.Wait()
	list, err := s.client.CoreV1().Pods("").List(s.t.Context(), metav1.ListOptions{})
	s.must(list, err)
	var got []string
	for _, p := range list.Items {
		at := p.Spec.NodeName
		if at == "" {
			at = "-"
		}
		got = append(got, p.Name+":"+at)
	}
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		s.t.Errorf("got %v, want %s", got, want)
	}
}

func (s *story) expectEvents(want ...string) {
	s.t.Helper()
	if got := s.events.take(); got != strings.Join(want, "\n") {
		s.t.Errorf("got events\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// expectCondition compares PodScheduled: "False Unschedulable message".
func (s *story) expectCondition(pod, want string) {
	s.t.Helper()
	p, err := s.client.CoreV1().Pods("default").Get(s.t.Context(), pod, metav1.GetOptions{})
	s.must(p, err)
	got := ""
	for _, c := range p.Status.Conditions {
		got += fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
	}
	if got != want {
		s.t.Errorf("%s is\n%s\nwant\n%s", pod, got, want)
	}
}

// TestStory: no time passes in it, so whatever happens is an answer to an event.
func TestStory(t *testing.T) {
	run(t, func(s *story) {
		begin := time.Now()
		s.addPod("p cpu=2")
		s.expect("p:-")
		s.expectEvents("p Warning FailedScheduling: no nodes available to schedule pods")
		s.expectCondition("p", "False Unschedulable no nodes available to schedule pods")

		s.addNode("a cpu=3 taint:node.kubernetes.io/not-ready=:NoSchedule")
		s.expect("p:-")
		message := "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
		s.expectEvents("p Warning FailedScheduling: " + message)
		s.expectCondition("p", "False Unschedulable "+message)

		s.updateNode("a cpu=3")
		s.expect("p:a")
		s.expectEvents("p Normal Scheduled: Successfully assigned default/p to a")
		s.expectCondition("p", "True  ")

		s.addPod("q cpu=2")
		s.addPod("other scheduler:mine")
		s.addPod("gated gated")
		s.expect("gated:- other:- p:a q:-")
		s.expectEvents("q Warning FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
		s.updateNode("a cpu=3 label:x=y") // helps nobody
		s.expect("gated:- other:- p:a q:-")
		s.expectEvents()
		s.deletePod("p")
		s.expect("gated:- other:- q:a")
		s.expectEvents("q Normal Scheduled: Successfully assigned default/q to a")

		s.updatePod("gated")
		s.expect("gated:a other:- q:a")
		s.addPod("chosen on:a cpu=1")
		s.addPod("r cpu=1")
		s.addNode("b")
		s.expect("chosen:a gated:a other:- q:a r:b")
		s.events.take()

		s.addPod("picky select:zone=b")
		s.expect("chosen:a gated:a other:- picky:- q:a r:b")
		s.updatePod("picky")
		s.expect("chosen:a gated:a other:- picky:b q:a r:b")
		if time.Since(begin) != 0 {
			t.Error("time has passed")
		}
	})
}

// TestPriority: when there is room for one, it is the most important, then the oldest.
func TestPriority(t *testing.T) {
	run(t, func(s *story) {
		for _, p := range []string{"low priority:1 cpu=4", "high priority:9 cpu=4", "late priority:9 cpu=4"} {
			s.addPod(p)
			synctest.Wait()
		}
		s.addNode("a")
		s.expect("high:a late:- low:-")
		s.deletePod("high")
		s.expect("late:a low:-")
	})
}

// TestTogether: many Pods at once never take more than there is, though no binding is confirmed
// before the next decision.
func TestTogether(t *testing.T) {
	run(t, func(s *story) {
		s.addNode("a cpu=3")
		s.addNode("b cpu=3")
		for i := range 10 {
			s.addPod(fmt.Sprintf("p%d cpu=1 owner:set", i))
		}
		synctest.Wait()
		list, err := s.client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		s.must(list, err)
		counts := map[string]int{}
		for _, p := range list.Items {
			counts[p.Spec.NodeName]++
		}
		if counts["a"] != 3 || counts["b"] != 3 || counts[""] != 4 {
			t.Error(counts)
		}
	})
}

// TestRefused: a binding that fails gives the place back, says why, and is tried again.
func TestRefused(t *testing.T) {
	run(t, func(s *story) {
		s.addNode("a cpu=1")
		s.answer(errors.New("no"))
		s.addPod("p cpu=1")
		s.expect("p:-")
		s.expectEvents("p Warning FailedScheduling: bind Pod default/p to node a: no")
		s.expectCondition("p", "False SchedulerError bind Pod default/p to node a: no")
		s.answer(apierrors.NewConflict(corev1.Resource("pods/binding"), "p", errors.New("busy")))
		time.Sleep(firstRetry)
		s.expect("p:-")
		s.expectEvents() // nobody's business
		s.answer(nil)
		time.Sleep(2 * firstRetry)
		s.expect("p:a")
		s.expectEvents("p Normal Scheduled: Successfully assigned default/p to a")
		if s.bound != 3 {
			t.Error(s.bound, "bindings")
		}

		s.answer(apierrors.NewNotFound(corev1.Resource("pods"), "q"))
		s.addNode("b cpu=1")
		s.addPod("q cpu=1")
		synctest.Wait()
		s.deletePod("q")
		s.answer(nil)
		s.addPod("r cpu=1") // takes the place that q gave back
		s.expect("p:a r:b")
	})
}
