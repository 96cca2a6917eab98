package apiserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/test/eventually"
)

// TestSystemPriorities: the two classes of the system are in every cluster and stay.
func TestSystemPriorities(t *testing.T) {
	_, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	ctx, classes := t.Context(), c.SchedulingV1().PriorityClasses()
	list, err := classes.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list.Items {
		got = append(got, fmt.Sprint(p.Name, " ", p.Value, " ", p.GlobalDefault, " ", *p.PreemptionPolicy, " ", p.Description))
	}
	want := `system-cluster-critical 2000000000 false PreemptLowerPriority Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.
system-node-critical 2000001000 false PreemptLowerPriority Used for system critical pods that must not be moved from their current node.`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	err = classes.Delete(ctx, "system-node-critical", metav1.DeleteOptions{})
	if want := `priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority class and cannot be deleted`; !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("delete: %v, want %s", err, want)
	}
	if err := classes.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("delete all: %v", err)
	}
	for name, want := range map[string]string{
		"system-other":         "system-other is not a known system priority class",
		"system-node-critical": "value of system-node-critical PriorityClass must be 2000001000",
	} {
		p := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 1}
		_, err := classes.Create(ctx, p, metav1.CreateOptions{})
		want := fmt.Sprintf(`PriorityClass.scheduling.k8s.io "%s" is invalid: metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: %s`, name, want)
		if err == nil || err.Error() != want {
			t.Errorf("create: %v\nwant %s", err, want)
		}
	}
}

// TestPriorityOfPods goes through what a Pod may say of its priority, and what it gets.
func TestPriorityOfPods(t *testing.T) {
	_, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	ctx := t.Context()
	if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	never, number := corev1.PreemptNever, func(n int32) *int32 { return &n }
	class := func(name string, value int32, isDefault bool, policy *corev1.PreemptionPolicy) error {
		_, err := c.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, GlobalDefault: isDefault, PreemptionPolicy: policy,
		}, metav1.CreateOptions{})
		return err
	}
	if err := class("calm", 7, false, &never); err != nil {
		t.Fatal(err)
	}
	pods := 0
	shows := func(class string, priority *int32, policy *corev1.PreemptionPolicy) string {
		pods++
		pod := podOn(fmt.Sprint("p", pods), "")
		pod.Spec.PriorityClassName, pod.Spec.Priority, pod.Spec.PreemptionPolicy = class, priority, policy
		made, err := c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			return strings.TrimPrefix(err.Error(), fmt.Sprintf("pods %q is forbidden: ", pod.Name))
		}
		return fmt.Sprint(made.Spec.PriorityClassName, " ", *made.Spec.Priority, " ", *made.Spec.PreemptionPolicy)
	}
	same := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
	same("nothing said", shows("", nil, nil), " 0 PreemptLowerPriority")
	same("0 said", shows("", number(0), nil), " 0 PreemptLowerPriority")
	same("a class", shows("calm", nil, nil), "calm 7 Never")
	same("a class and its number", shows("calm", number(7), &never), "calm 7 Never")
	same("a class of the system", shows("system-node-critical", nil, nil), "system-node-critical 2000001000 PreemptLowerPriority")
	same("no such class", shows("none", nil, nil), "no PriorityClass with name none was found")
	same("a number", shows("", number(9), nil),
		"the integer value of priority (9) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name")
	lower := corev1.PreemptLowerPriority
	same("another policy", shows("calm", nil, &lower),
		"the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name")

	if err := class("usual", 5, true, nil); err != nil {
		t.Fatal(err)
	}
	var got string
	eventually.True(t, 10*time.Second, "the informer has it", func() bool { got = shows("", nil, nil); return got != " 0 PreemptLowerPriority" })
	same("a default class", got, "usual 5 PreemptLowerPriority")
	err := class("second", 6, true, nil)
	if want := `priorityclasses.scheduling.k8s.io "second" is forbidden: PriorityClass usual is already marked as default. Only one default can exist`; err == nil || err.Error() != want {
		t.Errorf("a second default: %v\nwant %s", err, want)
	}

	// Who replaces a Pod with what he once wrote, keeps what it got then.
	p, err := c.CoreV1().Pods("default").Get(ctx, "p3", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.Priority, p.Spec.PreemptionPolicy, p.Labels = nil, nil, map[string]string{"new": "label"}
	if p, err = c.CoreV1().Pods("default").Update(ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	same("replaced", fmt.Sprint(*p.Spec.Priority, *p.Spec.PreemptionPolicy), "7Never")
}
