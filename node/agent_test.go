package node_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/assemble"
	"github.com/duetk8s/duet/node"
	"github.com/duetk8s/duet/test/eventually"
)

// administrator stands for a node's identity where the test is not about that.
type administrator struct{ config *rest.Config }

func (a administrator) Client() *rest.Config        { return a.config }
func (administrator) SetAddresses([]netip.Addr)     {}
func (administrator) Reconnect()                    {}
func (administrator) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (administrator) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return &tls.Certificate{}, nil
}

// TestAgent runs the whole agent against a real API server: the node registers, gets its network
// when it has its ranges, and runs a Pod.
func TestAgent(t *testing.T) {
	b := node.NewBox(t)
	for _, command := range [][]string{
		{"rm", filepath.Join(b.Dir(), "cni/10-bridge.conflist")},
		{"ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"},
		{"ip", "link", "set", "up0", "up"},
		{"ip", "link", "set", "up1", "up"},
		{"ip", "addr", "add", "172.30.0.3/24", "dev", "up0"},
		{"ip", "addr", "add", "fd00:172:30::3/64", "dev", "up0", "nodad"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "up0").Run() })
	ctx, stop := context.WithCancel(t.Context())
	config, done := startServer(ctx, t, filepath.Join(b.Dir(), "server"))
	defer func() { <-done }()
	defer stop()
	client, err := clientset.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}

	a, err := node.New(node.Config{
		Name: "node", RootDir: b.Dir(), CRISocket: b.Socket(), CAFile: filepath.Join(b.Dir(), "server/pki/ca.crt"), CNIConfDir: filepath.Join(b.Dir(), "cni"),
		CgroupParent: b.Cgroup(), ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
	})
	if err != nil {
		t.Fatal(err)
	}
	node.JoinAs(a, administrator{config})
	agent := make(chan error, 1)
	go func() { agent <- a.Run(ctx) }()
	defer func() {
		stop()
		if err := <-agent; err != nil {
			t.Error(err)
		}
	}()

	eventually.True(t, 30*time.Second, "the node registers", func() bool {
		_, err := client.CoreV1().Nodes().Get(ctx, "node", metav1.GetOptions{})
		return err == nil
	})
	eventually.True(t, 30*time.Second, "the node is ready", func() bool {
		n, err := client.CoreV1().Nodes().Get(ctx, "node", metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	})
	began := time.Now()
	if _, err := client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: corev1.PodSpec{
			NodeName: "node", TerminationGracePeriodSeconds: new(int64(1)), AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{Name: "c", Image: node.Image, Command: []string{"/bin/sh", "-c", node.Forever}, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	eventually.True(t, 30*time.Second, "the pod is ready", func() bool {
		pod, err = client.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
		return err == nil && node.Ready(pod)
	})
	t.Logf("created to ready: %v", time.Since(began))
	if len(pod.Status.PodIPs) != 2 || len(pod.Status.HostIPs) != 2 || pod.Status.HostIP != "172.30.0.3" {
		t.Errorf("%+v", pod.Status)
	}
	eventually.True(t, 30*time.Second, "events are told", func() bool {
		events, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=web,reason=Started"})
		return err == nil && len(events.Items) == 1 && events.Items[0].Message == "Container started"
	})
	if err := client.CoreV1().Pods("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	rt := b.Dial(t)
	eventually.True(t, 30*time.Second, "nothing is left", func() bool {
		all, err := rt.ListSandboxes(ctx)
		_, gone := client.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
		return err == nil && len(all) == 0 && gone != nil
	})
}

// startServer runs a control plane of the test's own on loopback.
func startServer(ctx context.Context, t *testing.T, dir string) (*rest.Config, <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if err := assemble.Server(ctx, assemble.ServerConfig{
			Name: "test", DataDir: dir, NodePorts: "30000-32767", Listeners: []net.Listener{listener},
			ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")},
			PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.200.0.0/16"), netip.MustParsePrefix("fd00:10:200::/56")},
			Advertise:    []netip.Addr{netip.MustParseAddr("172.30.0.3"), netip.MustParseAddr("fd00:172:30::3")},
			Ready:        func() { close(ready) },
		}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case <-done:
		t.FailNow()
	case <-time.After(30 * time.Second):
		t.Fatal("the server is not ready")
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	return config, done
}
