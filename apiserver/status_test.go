package apiserver

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestStatusLeavesMetadata: who may write the status of an object can neither end what a finalizer
// holds nor change what it is known by, with any kind of patch.
func TestStatusLeavesMetadata(t *testing.T) {
	_, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	ctx := t.Context()
	if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	pod := podOn("p", "")
	pod.Finalizers, pod.Labels = []string{"example.com/hold"}, map[string]string{"app": "p"}
	if _, err := c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	held, err := c.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || len(held.Finalizers) == 0 {
		t.Fatal(held, err)
	}
	const (
		merge     = `{"metadata": {"finalizers": null, "labels": {"app": "other"}, "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]}}`
		strategic = `{"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/hold", "networking.k8s.io/service-cidr-finalizer"], "finalizers": []}}`
		byJSON    = `[{"op": "remove", "path": "/metadata/finalizers"}]`
	)
	for kind, patch := range map[types.PatchType]string{types.MergePatchType: merge, types.StrategicMergePatchType: strategic, types.JSONPatchType: byJSON} {
		p, err := c.CoreV1().Pods("default").Patch(ctx, "p", kind, []byte(patch), metav1.PatchOptions{}, "status")
		if err != nil || !slices.Equal(p.Finalizers, pod.Finalizers) || p.Labels["app"] != "p" || len(p.OwnerReferences) != 0 {
			t.Errorf("Pod by %s: %v, finalizers %v, labels %v, owners %v", kind, err, p.Finalizers, p.Labels, p.OwnerReferences)
		}
		r, err := c.NetworkingV1().ServiceCIDRs().Patch(ctx, "kubernetes", kind, []byte(patch), metav1.PatchOptions{}, "status")
		if err != nil || !slices.Equal(r.Finalizers, held.Finalizers) {
			t.Errorf("ServiceCIDR by %s: %v, finalizers %v", kind, err, r.Finalizers)
		}
	}
}
