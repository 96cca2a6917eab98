package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/duetk8s/duet/lab"
	"github.com/duetk8s/duet/pki"
)

// serve runs a control plane on loopback until the end of the test.
func serve(t *testing.T) (kubeconfig string) {
	t.Helper()
	dir := t.TempDir()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fd, err := unix.Dup(int(writer.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Program{Stderr: io.Discard}.server(ctx, serverFlags{
			name: "duet", dataDir: dir, serviceCIDR: defaultServiceCIDR, podCIDR: defaultPodCIDR, nodePorts: "30000-32767",
			listen: []string{"127.0.0.1:0"}, advertise: []string{"192.0.2.1", "2001:db8::1"},
			listenFD: noFD, lockFD: noFD, readyFD: fd,
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	said, err := io.ReadAll(reader)
	if err != nil || string(said) != lab.Ready {
		t.Fatalf("the server says %q, %v", said, err)
	}
	return lab.AdminKubeconfig(dir)
}

// TestClusterAPI plays nodes against a real API server.
func TestClusterAPI(t *testing.T) {
	kubeconfig := serve(t)
	var api clusterAPI
	client, err := api.client(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("tokens", func(t *testing.T) {
		var last string
		for range 2 {
			token, err := api.Invite(t.Context(), kubeconfig)
			if err != nil || !tokenShape.MatchString(token) || token == last {
				t.Fatalf("%q after %q, %v", token, last, err)
			}
			last = token
		}
		secret, err := client.CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-duetup", metav1.GetOptions{})
		if err != nil || "duetup."+string(secret.Data["token-secret"]) != last || secret.Type != corev1.SecretTypeBootstrapToken {
			t.Errorf("%v, %v", secret, err)
		}
	})
	t.Run("await", func(t *testing.T) {
		began := time.Now()
		old := play(t, client, "worker0", true, began.Add(-time.Minute))
		play(t, client, "worker1", true, began.Add(-time.Minute))
		play(t, client, "worker2", false, began.Add(time.Second))
		seen := make(chan string, 3)
		done := make(chan error, 1)
		go func() {
			done <- api.Await(t.Context(), kubeconfig, map[string]time.Time{"worker0": began, "worker1": {}, "worker2": began}, func(n string) { seen <- n })
		}()
		if n := <-seen; n != "worker1" {
			t.Fatalf("%s is ready first", n)
		}
		renew(t, client, old, began.Add(time.Second))
		if n := <-seen; n != "worker0" {
			t.Fatalf("%s is ready next", n)
		}
		setReady(t, client, "worker2", true)
		if n, err := <-seen, <-done; n != "worker2" || err != nil {
			t.Fatalf("%s is ready last, %v", n, err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		play(t, client, "worker3", false, time.Now())
		ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("too late"))
		defer cancel()
		err := api.Await(ctx, kubeconfig, map[string]time.Time{
			"worker0": {}, "worker1": time.Now().Add(time.Hour), "worker3": {}, "worker4": {},
		}, func(string) {})
		want := "too late: worker1 has not come back; worker3 is not Ready: KubeletNotReady no network; worker4 has not joined"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
	t.Run("list and forget", func(t *testing.T) {
		if err := api.Forget(t.Context(), kubeconfig, []string{"worker1", "worker2", "worker9"}); err != nil {
			t.Fatal(err)
		}
		list, err := api.List(t.Context(), kubeconfig)
		if got := strings.Join(slices.Sorted(maps.Keys(list)), " "); err != nil || got != "worker0 worker3" || list["worker0"].Health != "Ready" {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// play makes a node and its Lease as an agent does.
func play(t *testing.T, client kubernetes.Interface, name string, ready bool, alive time.Time) *coordinationv1.Lease {
	t.Helper()
	if _, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	setReady(t, client, name, ready)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-node-lease"}}
	lease.Spec.RenewTime = new(metav1.NewMicroTime(alive))
	lease, err := client.CoordinationV1().Leases("kube-node-lease").Create(t.Context(), lease, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func renew(t *testing.T, client kubernetes.Interface, lease *coordinationv1.Lease, at time.Time) {
	t.Helper()
	lease.Spec.RenewTime = new(metav1.NewMicroTime(at))
	if _, err := client.CoordinationV1().Leases("kube-node-lease").Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func setReady(t *testing.T, client kubernetes.Interface, name string, ready bool) {
	t.Helper()
	condition := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "no network"}
	if ready {
		condition = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}
	}
	// A patch, because controllers write to the node too.
	patch, err := json.Marshal(corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{condition}}})
	if err == nil {
		_, err = client.CoreV1().Nodes().Patch(t.Context(), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestInvite: the line that is printed says where Pods reach the server, which CA it has and the DNS.
func TestInvite(t *testing.T) {
	kubeconfig := serve(t)
	made, err := invite(t.Context(), cluster{name: "duet", dataDir: filepath.Dir(kubeconfig)}, time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(filepath.Dir(kubeconfig), "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pin, err := pki.PinOf(ca)
	if err != nil {
		t.Fatal(err)
	}
	port := regexp.MustCompile(`^https://192\.0\.2\.1:[0-9]+$`)
	want := "duet node --server " + made.Server + " --token " + made.Token + " --ca-hash " + pin + " --cluster-dns 10.96.0.10,fd00:10:96::a"
	if !port.MatchString(made.Server) || !tokenShape.MatchString(made.Token) || made.Command != want {
		t.Errorf("got  %+v\nwant %s", made, want)
	}
}

// TestPutToken: the server deletes a token whose time is over just when a new one replaces it.
func TestPutToken(t *testing.T) {
	old := bootstrapToken(tokenID, "0123456789abcdef", "old")
	client := fake.NewClientset(old)
	deleted := false
	client.PrependReactor("update", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if deleted {
			return false, nil, nil
		}
		deleted = true
		return false, nil, client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("secrets"), old.Namespace, old.Name)
	})
	if err := put(t.Context(), client.CoreV1().Secrets(old.Namespace), bootstrapToken(tokenID, "fedcba9876543210", "new")); err != nil {
		t.Fatal(err)
	}
	now, err := client.CoreV1().Secrets(old.Namespace).Get(t.Context(), old.Name, metav1.GetOptions{})
	if err != nil || now.StringData["description"] != "new" || !deleted {
		t.Errorf("%v, %v, deleted %t", now, err, deleted)
	}
}
