package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// standard are the namespaces that every cluster has.
var standard = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}

// Ensure creates the standard namespaces that are missing, all at once. The server calls it
// before it becomes ready, with a client that stays inside the process.
func Ensure(ctx context.Context, client kubernetes.Interface) error {
	errs := make([]error, len(standard))
	var group sync.WaitGroup
	for i, name := range standard {
		group.Go(func() { errs[i] = ensure(ctx, client, name) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func ensure(ctx context.Context, client kubernetes.Interface, name string) error {
	api := client.CoreV1().Namespaces()
	_, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

func isStandard(name string) bool { return slices.Contains(standard, name) }
