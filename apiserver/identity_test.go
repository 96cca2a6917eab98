package apiserver

import (
	"context"
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/duetk8s/duet/test/eventually"
)

// as is a client of a running server for somebody else. It goes in by impersonation: identities of
// the loopback are made before the server runs.
func as(t *testing.T, s *Server, name string, groups ...string) clientset.Interface {
	t.Helper()
	config := rest.CopyConfig(s.self)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: groups}
	c, err := clientset.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bearer(t *testing.T, s *Server, token string) clientset.Interface {
	t.Helper()
	c, err := clientset.NewForConfig(&rest.Config{
		Host: "https://" + s.Generic.ExternalAddress, BearerToken: token,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func podOn(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{
			NodeName: node, Containers: []corev1.Container{{
				Name: "c", Image: "i",
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}},
			}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}},
		},
	}
}

func check(t *testing.T, what string, err error, allowed bool) {
	t.Helper()
	if allowed && err != nil || !allowed && !apierrors.IsForbidden(err) {
		t.Errorf("%s, allowed %v: %v", what, allowed, err)
	} else if err != nil {
		t.Logf("%s: %v", what, err)
	}
}

func TestNodeRights(t *testing.T) {
	s, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	ctx := t.Context()
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	node := as(t, s, "system:node:a", user.NodesGroup, user.AllAuthenticated)
	for _, name := range []string{"a", "b"} {
		_, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		check(t, "create node "+name, err, name == "a")
		_, err = c.CoreV1().Pods("default").Create(ctx, podOn(name, name), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		own := name == "a"
		_, err = node.CoreV1().Secrets("default").Get(ctx, name, metav1.GetOptions{})
		check(t, "get secret "+name, err, own)
		_, err = node.CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{})
		check(t, "get configmap "+name, err, own)
		_, err = node.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		check(t, "list configmap "+name, err, own)
		_, err = node.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		check(t, "get pod "+name, err, own)
		p, err := c.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.Status.Phase = corev1.PodRunning
		_, err = node.CoreV1().Pods("default").UpdateStatus(ctx, p, metav1.UpdateOptions{})
		check(t, "status of pod "+name, err, own)
		_, err = node.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
		check(t, "list pods of "+name, err, own)
		_, err = node.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		check(t, "lease "+name, err, own)
		err = node.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{})
		check(t, "delete pod "+name, err, own)
	}
	_, err := node.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
	check(t, "list secrets", err, false)
	_, err = node.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	check(t, "list pods", err, false)
	_, err = node.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	check(t, "list nodes", err, true)
	_, err = node.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	check(t, "list endpointslices", err, true)
	_, err = node.CoreV1().Nodes().Patch(ctx, "a", "application/merge-patch+json", []byte(`{"spec":{"taints":[{"key":"x","effect":"NoSchedule"}]}}`), metav1.PatchOptions{})
	check(t, "taint itself", err, false)
	_, err = node.CoreV1().Nodes().Patch(ctx, "a", "application/merge-patch+json", []byte(`{"metadata":{"labels":{"node-restriction.kubernetes.io/x":"y"}}}`), metav1.PatchOptions{})
	check(t, "label itself", err, false)
}

func TestBootstrapToken(t *testing.T) {
	s, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	ctx := t.Context()
	joining := bearer(t, s, "abcdef.0123456789abcdef")
	who := func(c clientset.Interface) (string, error) {
		review, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		t.Log(review.Status.UserInfo)
		return review.Status.UserInfo.Username, nil
	}
	if name, err := who(joining); !apierrors.IsUnauthorized(err) {
		t.Error(name, err)
	}
	write := func(change func(*corev1.Secret)) {
		t.Helper()
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
			StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
		}
		change(secret)
		_ = c.CoreV1().Secrets("kube-system").Delete(ctx, secret.Name, metav1.DeleteOptions{})
		if _, err := c.CoreV1().Secrets("kube-system").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for what, change := range map[string]func(*corev1.Secret){
		"expired":      func(s *corev1.Secret) { s.StringData["expiration"] = time.Now().Add(-time.Hour).Format(time.RFC3339) },
		"other secret": func(s *corev1.Secret) { s.StringData["token-secret"] = "0123456789abcdee" },
		"not for this": func(s *corev1.Secret) { delete(s.StringData, "usage-bootstrap-authentication") },
		"bad group":    func(s *corev1.Secret) { s.StringData["auth-extra-groups"] = "system:masters" },
	} {
		write(change)
		if name, err := who(joining); !apierrors.IsUnauthorized(err) {
			t.Error(what, name, err)
		}
	}
	write(func(*corev1.Secret) {})
	if name, err := who(joining); name != "system:bootstrap:abcdef" {
		t.Error(name, err)
	}
	_, err := joining.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
	check(t, "list secrets", err, false)
	_, err = joining.CertificatesV1().CertificateSigningRequests().List(context.Background(), metav1.ListOptions{})
	check(t, "list requests", err, true)
	review, err := c.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "abcdef.0123456789abcdef"}}, metav1.CreateOptions{})
	if err != nil || !review.Status.Authenticated {
		t.Error(review, err)
	}
}

func TestServiceAccountToken(t *testing.T) {
	s, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	ctx := t.Context()
	p, err := c.CoreV1().Pods("default").Create(ctx, podOn("a", "n"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Spec.ServiceAccountName != "default" || len(p.Spec.Volumes) != 2 || len(p.Spec.Containers[0].VolumeMounts) != 1 || len(p.Spec.Tolerations) != 2 {
		t.Error(p.Spec)
	}
	missing := podOn("b", "n")
	missing.Spec.ServiceAccountName = "none"
	_, err = c.CoreV1().Pods("default").Create(ctx, missing, metav1.CreateOptions{})
	check(t, "pod without account", err, false)
	ask := func(c clientset.Interface, change func(*authenticationv1.TokenRequest)) (string, error) {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "a", UID: p.UID},
		}}
		if change != nil {
			change(request)
		}
		made, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", request, metav1.CreateOptions{})
		if err == nil && len(made.ManagedFields) == 0 {
			t.Error("the OpenAPI documents do not know TokenRequest: hack/openapi/run.sh")
		}
		return made.Status.Token, err
	}
	_, err = ask(as(t, s, "system:node:m", user.NodesGroup), nil)
	check(t, "token for another node's pod", err, false)
	token, err := ask(as(t, s, "system:node:n", user.NodesGroup), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ask(as(t, s, "system:node:n", user.NodesGroup), func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef = nil })
	check(t, "unbound token for a node", err, false)
	if _, err = ask(c, func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef.UID = "x" }); !apierrors.IsConflict(err) {
		t.Error(err)
	}
	short := int64(1)
	if _, err = ask(c, func(r *authenticationv1.TokenRequest) { r.Spec.ExpirationSeconds = &short }); !apierrors.IsInvalid(err) {
		t.Error(err)
	}
	me := func() (string, error) {
		review, err := bearer(t, s, token).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		t.Log(review.Status.UserInfo)
		return review.Status.UserInfo.Username, nil
	}
	if name, err := me(); name != "system:serviceaccount:default:default" {
		t.Error(name, err)
	}
	review := func(audiences ...string) authenticationv1.TokenReviewStatus {
		review, err := c.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return review.Status
	}
	if status := review(); !status.Authenticated {
		t.Error(status)
	}
	if status := review("other"); status.Authenticated {
		t.Error(status)
	}
	body, err := c.CoreV1().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(ctx)
	t.Log(string(body), err)
	body, err = c.CoreV1().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	t.Log(string(body), err)
	now := int64(0)
	if err := c.CoreV1().Pods("default").Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, 5*time.Second, "no good without its Pod", func() bool { _, err := me(); return apierrors.IsUnauthorized(err) })
}
