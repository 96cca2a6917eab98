package nodestatus

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/golden"
)

var goodFacts = Facts{
	CPUs: 4, Memory: 16 << 30, MemoryAvailable: 8 << 30, Disk: 100 << 30, DiskAvailable: 50 << 30, Inodes: 1000, InodesFree: 900,
	Processes: 300, ProcessesMax: 32768, HugePages: map[string]int64{"2Mi": 0, "1Gi": 1 << 30},
	MachineID: "machine", SystemUUID: "system", BootID: "boot", Kernel: "6.1.0", OSImage: "Debian GNU/Linux 12 (bookworm)",
	RuntimeVersion: "containerd://1.6.20",
	Images: []*cri.Image{
		{RepoTags: []string{"docker.io/library/busybox:1.28"}, Size: 700},
		{RepoTags: []string{"docker.io/library/nginx:latest"}, RepoDigests: []string{"docker.io/library/nginx@sha256:00"}, Size: 9000},
	},
}

func TestStatusOfANewNode(t *testing.T) {
	s := status(&corev1.NodeStatus{}, "worker0", addrs("172.30.0.3 fd00:172:30::3"), goodFacts,
		Config{Port: 10250, MaxPods: 110}, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s.NodeInfo.KubeletVersion, s.NodeInfo.Architecture = "VERSION", "ARCH"
	text, err := yaml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/status.golden", string(text))
}

func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		name, want string // the conditions that are not as they should be: TYPE=STATUS REASON MESSAGE
		change     func(*Facts)
		noAddress  bool
	}{
		{name: "all well", change: func(*Facts) {}},
		{
			name: "memory", change: func(f *Facts) { f.MemoryAvailable = 99 << 20 },
			want: "MemoryPressure=True KubeletHasInsufficientMemory kubelet has insufficient memory available",
		},
		{name: "a big disk, 2 % free", change: func(f *Facts) { f.DiskAvailable = 2 << 30 }},
		{
			name: "a big disk, full", change: func(f *Facts) { f.DiskAvailable = 1<<30 - 1 },
			want: "DiskPressure=True KubeletHasDiskPressure kubelet has disk pressure",
		},
		{
			name: "a small disk", change: func(f *Facts) { f.Disk, f.DiskAvailable = 1<<30, 99<<20 },
			want: "DiskPressure=True KubeletHasDiskPressure kubelet has disk pressure",
		},
		{name: "inodes", change: func(f *Facts) { f.InodesFree = 49 }, want: "DiskPressure=True KubeletHasDiskPressure kubelet has disk pressure"},
		{name: "a file system without inodes", change: func(f *Facts) { f.Inodes, f.InodesFree = 0, 0 }},
		{
			name: "processes", change: func(f *Facts) { f.Processes = 32000 },
			want: "PIDPressure=True KubeletHasInsufficientPID kubelet has insufficient PID available",
		},
		{
			name: "runtime down", change: func(f *Facts) { f.RuntimeProblem = "container runtime is down" },
			want: "Ready=False KubeletNotReady container runtime is down",
		},
		{
			name: "no address", change: func(*Facts) {}, noAddress: true,
			want: "Ready=False KubeletNotReady host IP unknown; known addresses: []",
		},
		{
			name: "two reasons", change: func(f *Facts) { f.RuntimeProblem, f.RuntimeNetProblem = "a", "b" },
			want: "Ready=False KubeletNotReady [a, b]",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, a := goodFacts, addrs("192.0.2.1")
			tt.change(&f)
			if tt.noAddress {
				a = nil
			}
			var bad []string
			for _, c := range conditions(f, a) {
				if (c.Status == corev1.ConditionTrue) != (c.Type == corev1.NodeReady) {
					bad = append(bad, string(c.Type)+"="+string(c.Status)+" "+c.Reason+" "+c.Message)
				}
			}
			if got := strings.Join(bad, "\n"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSetConditionKeepsTheTransition(t *testing.T) {
	day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	s := corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: "NetworkUnavailable", Status: corev1.ConditionFalse}}}
	for i, status := range []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionFalse, corev1.ConditionTrue} {
		setCondition(&s, corev1.NodeCondition{Type: corev1.NodeReady, Status: status}, day.Add(time.Duration(i)*time.Hour))
	}
	c := s.Conditions[1]
	if len(s.Conditions) != 2 || c.LastTransitionTime.Hour() != 2 || c.LastHeartbeatTime.Hour() != 2 {
		t.Errorf("%+v", s.Conditions)
	}
}

func TestStatusPatch(t *testing.T) {
	a := corev1.NodeStatus{
		Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
		Conditions: []corev1.NodeCondition{{Type: "Foreign", Status: corev1.ConditionTrue}},
	}
	b := *a.DeepCopy()
	b.Addresses = append(b.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "2001:db8::1"})
	got, err := statusPatch(a, b)
	want := `{"status":{"addresses":[{"$patch":"replace"},{"type":"InternalIP","address":"192.0.2.1"},{"type":"InternalIP","address":"2001:db8::1"}]}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

// fakeRuntime is up or down.
type fakeRuntime struct {
	mu      sync.Mutex
	down    bool
	network bool
}

func (r *fakeRuntime) set(down, network bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.network = down, network
}

func (r *fakeRuntime) Version(context.Context, string) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{RuntimeName: "containerd", RuntimeVersion: "1.6.20"}, nil
}

func (r *fakeRuntime) Status(context.Context, bool) (*cri.StatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, errors.New("connection refused")
	}
	network := &cri.RuntimeCondition{Type: cri.NetworkReady, Status: r.network}
	if !r.network {
		network.Reason, network.Message = "NetworkPluginNotReady", "Network plugin returns error: cni plugin not initialized"
	}
	return &cri.StatusResponse{Status: &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{{Type: cri.RuntimeReady, Status: true}, network}}}, nil
}

func (r *fakeRuntime) ListImages(context.Context, *cri.ImageFilter) ([]*cri.Image, error) {
	return nil, nil
}

func TestRun(t *testing.T) {
	ctx, client := t.Context(), fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	runtime := &fakeRuntime{}
	var mu sync.Mutex
	state := machine(t, "eth0 172.30.0.3/24\neth0 fd00:172:30::3/64")
	var changed func()
	var told [][]netip.Addr
	var moved atomic.Int32
	s, err := New(Config{
		Name: "worker0", Client: client, Runtime: runtime, Nodes: factory.Core().V1().Nodes().Informer(), RootDir: t.TempDir(),
		Port: 10250, MaxPods: 110, Labels: map[string]string{"disk": "fast"},
		Taints:  []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}},
		Changed: func(a []netip.Addr) { mu.Lock(); told = append(told, a); mu.Unlock() },
		Moved:   func() { moved.Add(1) },
		Read:    func() (hostnet.State, error) { mu.Lock(); defer mu.Unlock(); return state, nil },
		Watch: func(ctx context.Context, fn func()) error {
			mu.Lock()
			changed = fn
			mu.Unlock()
			<-ctx.Done()
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	background.Run(t, factory, s.Run)

	get := func() *corev1.Node {
		n, err := client.CoreV1().Nodes().Get(ctx, "worker0", metav1.GetOptions{})
		if err != nil {
			return &corev1.Node{}
		}
		return n
	}
	is := func(want string) func() bool {
		return func() bool {
			for _, c := range get().Status.Conditions {
				if c.Type == corev1.NodeReady && strings.HasPrefix(string(c.Status)+" "+c.Message, want) {
					return true
				}
			}
			return false
		}
	}
	eventually.True(t, 10*time.Second, "registered", is("False container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"))
	n := get()
	if n.Labels["kubernetes.io/hostname"] != "worker0" || n.Labels["disk"] != "fast" || len(n.Spec.Taints) != 1 {
		t.Errorf("registered as %+v", n)
	}
	text, _ := json.Marshal(n.Status.Addresses)
	if want := `[{"type":"Hostname","address":"worker0"},{"type":"InternalIP","address":"172.30.0.3"},{"type":"InternalIP","address":"fd00:172:30::3"}]`; string(text) != want {
		t.Errorf("addresses %s", text)
	}
	runtime.set(false, true)
	eventually.True(t, 10*time.Second, "ready", is("True kubelet is posting ready status"))
	eventually.True(t, 10*time.Second, "a Lease", func() bool {
		l, err := client.CoordinationV1().Leases("kube-node-lease").Get(ctx, "worker0", metav1.GetOptions{})
		return err == nil && *l.Spec.HolderIdentity == "worker0" && *l.Spec.LeaseDurationSeconds == 40 && l.OwnerReferences[0].Name == "worker0"
	})
	runtime.set(true, false)
	s.Check()
	eventually.True(t, 10*time.Second, "not ready", is("False container runtime is down"))
	runtime.set(false, true)
	eventually.True(t, 10*time.Second, "ready again, by itself", is("True"))

	// Another address, and then another primary family because the Pods have it.
	mu.Lock()
	state = machine(t, "eth0 172.30.0.9/24\neth0 fd00:172:30::3/64")
	mu.Unlock()
	changed()
	address := func(i int, want string) func() bool {
		return func() bool { l := get().Status.Addresses; return len(l) > i && l[i].Address == want }
	}
	eventually.True(t, 10*time.Second, "the new address", address(1, "172.30.0.9"))
	n = get()
	n.Spec.PodCIDRs = []string{"fd00:10:244::/64", "10.244.0.0/24"}
	n.ResourceVersion = "5"
	if _, err := client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, 10*time.Second, "IPv6 first", address(1, "fd00:172:30::3"))
	if got := s.HostIPs(); got[0].String() != "fd00:172:30::3" || len(got) != 2 {
		t.Errorf("host addresses %v", got)
	}
	eventually.True(t, 10*time.Second, "told three times", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) == 3 })
	if n := moved.Load(); n != 1 {
		t.Errorf("it lost an address once, and said so %d times", n)
	}

	if err := client.CoreV1().Nodes().Delete(ctx, "worker0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, 10*time.Second, "registered again", func() bool { return get().Name != "" })
}

// TestNow: what the node knows of itself it knows before the API does, and what others have changed
// when it has asked.
func TestNow(t *testing.T) {
	ctx, client, runtime := t.Context(), fake.NewClientset(), &fakeRuntime{down: true}
	s, err := New(Config{
		Name: "worker0", Client: client, Runtime: runtime, Nodes: informers.NewSharedInformerFactory(client, 0).Core().V1().Nodes().Informer(), RootDir: t.TempDir(),
		Read: func() (hostnet.State, error) { return machine(t, "eth0 172.30.0.3/24\neth0 fd00:172:30::3/64"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.look(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Now() != nil {
		t.Error("known before it is registered")
	}
	isReady := func(n *corev1.Node) bool {
		return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	}
	if _, err := s.report(ctx); err != nil || isReady(s.Now()) || len(s.Now().Status.Allocatable) == 0 {
		t.Fatalf("%v: %+v", err, s.Now())
	}
	runtime.set(false, true)
	var before, now bool
	client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, kruntime.Object, error) {
		before, now = isReady(s.Node()), isReady(s.Now())
		return false, nil, nil
	})
	if _, err := s.report(ctx); err != nil || before || !now {
		t.Errorf("%v, while it is written: as the API has it %t, as it is %t", err, before, now)
	}
	n := s.Node().DeepCopy()
	n.Labels["zone"], n.ResourceVersion = "a", "7"
	if _, err := client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if s.Now().Labels["zone"] != "" || s.Ask(ctx).Labels["zone"] != "a" || s.Now().Labels["zone"] != "a" {
		t.Errorf("labels %v", s.Now().Labels)
	}
}

func TestMachineFacts(t *testing.T) {
	f := machineFacts(t.TempDir())
	if f.CPUs == 0 || f.Memory == 0 || f.MemoryAvailable == 0 || f.Disk == 0 || f.Processes == 0 || f.ProcessesMax == 0 || f.BootID == "" || f.Kernel == "" || f.OSImage == "" {
		t.Errorf("%+v", f)
	}
}
