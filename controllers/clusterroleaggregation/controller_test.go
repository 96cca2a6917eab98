package clusterroleaggregation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/duetk8s/duet/test/background"
)

// role makes a ClusterRole: "name +label <label: resources".
func role(text string) *rbacv1.ClusterRole {
	head, resources, _ := strings.Cut(text, ":")
	words := strings.Fields(head)
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: words[0], Labels: map[string]string{}}}
	for _, word := range words[1:] {
		if word[0] == '+' {
			r.Labels[word[1:]] = "true"
			continue
		}
		r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{word[1:]: "true"}},
		}}
	}
	for resource := range strings.FieldsSeq(resources) {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}})
	}
	return r
}

func show(roles []rbacv1.ClusterRole) string {
	var lines []string
	for _, r := range roles {
		line := r.Name + ":"
		for _, rule := range r.Rules {
			line += " " + rule.Resources[0]
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestStory changes roles one after the other and looks at all rules in between.
func TestStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		client := fake.NewClientset(role("view +edit <view"), role("edit <edit"), role("v +view: pods services"), role("e +edit: secrets"))
		conflicts := 1
		client.PrependReactor("update", "clusterroles", func(clienttesting.Action) (bool, runtime.Object, error) {
			if conflicts--; conflicts >= 0 {
				return true, nil, apierrors.NewConflict(rbacv1.Resource("clusterroles"), "x", fmt.Errorf("changed"))
			}
			return false, nil, nil
		})
		factory := informers.NewSharedInformerFactory(client, 0)
		controller, err := New(factory.Rbac().V1().ClusterRoles(), client.RbacV1().ClusterRoles())
		if err != nil {
			t.Fatal(err)
		}
		background.Run(t, factory, controller.Run)

		roles := client.RbacV1().ClusterRoles()
		for _, step := range []struct {
			name string
			do   func() error
			want string
		}{
			{"start", func() error { return nil }, "e: secrets\nedit: secrets pods services\nv: pods services\nview: pods services"},
			{"a role joins", func() error {
				_, err := roles.Create(ctx, role("w +view: widgets pods"), metav1.CreateOptions{})
				return err
			}, "e: secrets\nedit: secrets pods services widgets\nv: pods services\nview: pods services widgets\nw: widgets pods"},
			{"a role changes", func() error {
				_, err := roles.Update(ctx, role("v +view: nodes"), metav1.UpdateOptions{})
				return err
			}, "e: secrets\nedit: secrets nodes widgets pods\nv: nodes\nview: nodes widgets pods\nw: widgets pods"},
			{"somebody edits gathered rules", func() error {
				_, err := roles.Update(ctx, role("view +edit <view: everything"), metav1.UpdateOptions{})
				return err
			}, "e: secrets\nedit: secrets nodes widgets pods\nv: nodes\nview: nodes widgets pods\nw: widgets pods"},
			{"a role goes", func() error { return roles.Delete(ctx, "v", metav1.DeleteOptions{}) }, "e: secrets\nedit: secrets widgets pods\nview: widgets pods\nw: widgets pods"},
		} {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			list, err := roles.List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := show(list.Items); got != step.want {
				t.Errorf("%s: got\n%s\nwant\n%s", step.name, got, step.want)
			}
		}
		writes := 0
		for _, action := range client.Actions() {
			if action.GetVerb() == "update" {
				writes++
			}
		}
		t.Logf("%d updates", writes)
	})
}
