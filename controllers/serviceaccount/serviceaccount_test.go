package serviceaccount

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

// TestRun: what a namespace gets, what comes back, and what is left alone.
func TestRun(t *testing.T) {
	now := metav1.Now()
	client := fake.NewClientset(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &now, Finalizers: []string{"example.com/x"}}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot", Namespace: "prod"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: configMap, Namespace: "prod"}, Data: map[string]string{caKey: "of yesterday", "more": "x"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "prod"}, Data: map[string]string{caKey: "theirs"}},
	)
	shared := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Deps{
		Accounts: client, Publisher: client, Reader: client,
		Namespaces: shared.Core().V1().Namespaces(), Existing: shared.Core().V1().ServiceAccounts(),
	}, []byte("the CA"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	background.Run(t, shared, c.Run)

	shows := func() string {
		var lines []string
		accounts, err := client.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range accounts.Items {
			lines = append(lines, a.Namespace+"/"+a.Name)
		}
		configs, err := client.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range configs.Items {
			lines = append(lines, fmt.Sprint(m.Namespace, "/", m.Name, m.Data))
		}
		return strings.Join(lines, "\n")
	}
	const prod = `prod/default
prod/robot
prod/kube-root-ca.crtmap[ca.crt:the CA]
prod/settingsmap[ca.crt:theirs]`
	eventually.Is(t, 10*time.Second, "at the start", shows, prod)
	gone := metav1.DeleteOptions{}
	for what, do := range map[string]func() error{
		"account deleted": func() error { return client.CoreV1().ServiceAccounts("prod").Delete(ctx, account, gone) },
		"CA deleted":      func() error { return client.CoreV1().ConfigMaps("prod").Delete(ctx, configMap, gone) },
		"CA changed": func() error {
			_, err := client.CoreV1().ConfigMaps("prod").Update(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: configMap, Namespace: "prod"}, BinaryData: map[string][]byte{"x": nil},
			}, metav1.UpdateOptions{})
			return err
		},
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		eventually.Is(t, 10*time.Second, what, shows, prod)
	}
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "dev"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually.Is(t, 10*time.Second, "a new namespace", shows, "dev/default\n"+strings.Replace(prod, "prod/kube", "dev/kube-root-ca.crtmap[ca.crt:the CA]\nprod/kube", 1))
}
