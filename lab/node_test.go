package lab

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/cri/pause"
	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/sandbox"
)

// playBox is what `duet box` is.
func playBox(args []string) {
	var cfg BoxConfig
	flags := flag.NewFlagSet("box", flag.ExitOnError)
	flags.StringVar(&cfg.Root, "root", "", "")
	flags.StringVar(&cfg.Cgroup, "cgroup", "", "")
	start, report := flags.Uint("start-fd", 0, ""), flags.Uint("report-fd", 0, "")
	_ = flags.Parse(args)
	cfg.Start, cfg.Report, cfg.Agent = os.NewFile(uintptr(*start), "start"), os.NewFile(uintptr(*report), "report"), flags.Args()
	for _, f := range []*os.File{cfg.Start, cfg.Report} {
		unix.CloseOnExec(int(f.Fd()))
	}
	unix.CloseOnExec(fdBoxLock)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if err := RunBox(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const envNode = "DUET_TEST_NODE" // set for the fake agent: what it does

// fakeNode keeps the promises of `duet node` to package lab: it joins, which is a file.
func fakeNode(args []string) {
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	values := map[string]*string{}
	for _, name := range []string{"name", "server", "ca-file", "token-file", "root-dir", "cri-socket", "node-ip", "cluster-dns", "cni-conf-dir", "cgroup-parent"} {
		values[name] = flags.String(name, "", "")
	}
	_ = flags.Parse(args)
	if os.Getenv(envNode) == "die" {
		fmt.Fprintln(os.Stderr, "panic: no way")
		os.Exit(2)
	}
	must(pause.Ensure(context.Background(), *values["cri-socket"]))
	token, err := os.ReadFile(*values["token-file"])
	must(err)
	mark := filepath.Join(*values["root-dir"], "joined")
	must(os.WriteFile(mark+".new", []byte(fmt.Sprint(*values["node-ip"], " ", string(token))), 0o600))
	must(os.Rename(mark+".new", mark))
	signalled()
	os.Exit(0)
}

// joined is a Cluster whose nodes are Ready once the fake agent has said so after it was started.
type joined struct{ t *testing.T }

func (joined) Invite(context.Context, string) (string, error) { return "abcdef.0123456789abcdef", nil }

func (joined) Await(ctx context.Context, kubeconfig string, nodes map[string]time.Time, ready func(string)) error {
	for _, node := range slices.Sorted(maps.Keys(nodes)) {
		for {
			info, err := os.Stat(filepath.Join(nodeRoot(filepath.Dir(kubeconfig), node), "joined"))
			if err == nil && !info.ModTime().Before(nodes[node]) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %s has not joined", interruption(ctx), node)
			case <-time.After(time.Millisecond):
			}
		}
		ready(node)
	}
	return nil
}

func (j joined) Forget(_ context.Context, kubeconfig string, nodes []string) error {
	j.t.Log("forget", nodes)
	return nil
}

func (joined) List(context.Context, string) (map[string]NodeInfo, error) {
	return map[string]NodeInfo{"worker0": {Health: "Ready", Version: "v1.37.2"}}, nil
}

func needRuntime(t *testing.T) {
	t.Helper()
	sandbox.Need(t)
	if err := checkRuntime(); err != nil {
		t.Skip(err)
	}
}

func hardwareOf(t *testing.T, cluster, member string) (address string) {
	t.Helper()
	err := within(namespaceName(cluster, member), func() error {
		link, err := netlink.LinkByName(memberLink)
		if err == nil {
			address = link.Attrs().HardwareAddr.String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// TestNodes goes through the life of a cluster with nodes and real containerds.
func TestNodes(t *testing.T) {
	needRuntime(t)
	l, _ := newLab(t)
	before := machine(t) + "\n" + cgroupsLeft(t)
	two, one := 2, 1
	r := Request{Name: "nodes", DataDir: filepath.Join(t.TempDir(), "data"), Nodes: &two}
	begin := time.Now()
	up(t, l, r)
	t.Log("up after", time.Since(begin))
	root := nodeRoot(r.DataDir, "worker0")
	boxes := boxesOf(t, r.DataDir, 2)
	if data, err := os.ReadFile(filepath.Join(root, "joined")); err != nil || string(data) != "172.30.0.3 abcdef.0123456789abcdef\n" {
		t.Errorf("worker0 joined with %q, %v", data, err)
	}
	worker := inspect(t, r).Workers[0]
	if worker.State != Running || worker.PID != boxes[0] || worker.Health != "Ready" || worker.Size == 0 {
		t.Errorf("status of worker0: %+v", worker)
	}
	runtime := dialCRI(t, root)
	pod := runSandbox(t, runtime)

	if again := up(t, l, r); !again.Already {
		t.Error("a second up did something")
	}
	// What dies inside comes back, and nothing else is touched.
	for _, program := range []string{"containerd", "node"} {
		old := inBox(t, boxes[0], program)
		if old == 0 {
			t.Fatal(program, "does not run")
		}
		must(unix.Kill(old, unix.SIGKILL))
		eventually.True(t, 10*time.Second, program+" is back", func() bool { now := inBox(t, boxes[0], program); return now != 0 && now != old })
	}
	eventually.True(t, 10*time.Second, "the Pod is there", func() bool { return sandboxReady(runtime, pod) })

	// The server alone.
	kill(t, inspect(t, r).PID)
	if resumed := up(t, l, r); resumed.Already {
		t.Error("up after the server's death did nothing")
	}
	if now := boxesOf(t, r.DataDir, 2); !slices.Equal(now, boxes) {
		t.Errorf("boxes before the server's death %v, after %v", boxes, now)
	}
	eventually.True(t, 10*time.Second, "the Pod is there", func() bool { return sandboxReady(runtime, pod) })

	// A box alone: what was in it has ended. Its neighbours need not learn its link anew.
	hardware := hardwareOf(t, "nodes", "worker0")
	kill(t, boxes[0])
	if resumed := up(t, l, r); resumed.Already {
		t.Error("up after a box's death did nothing")
	}
	if now := boxesOf(t, r.DataDir, 2); now[0] == boxes[0] || now[1] != boxes[1] {
		t.Errorf("boxes before the death of the first %v, after %v", boxes, now)
	}
	if now := hardwareOf(t, "nodes", "worker0"); now != hardware {
		t.Errorf("hardware address of worker0 before %s, after %s", hardware, now)
	}
	if sandboxReady(runtime, pod) {
		t.Error("the Pod has outlived its box")
	}

	r.Nodes = &one
	up(t, l, r)
	boxesOf(t, r.DataDir, 1)
	if left, err := storedNodes(r.DataDir); err != nil || len(left) != 1 {
		t.Errorf("nodes with data after one was removed: %v, %v", left, err)
	}
	runSandbox(t, runtime)
	if err := l.Down(t.Context(), r.Name, r.DataDir); err != nil {
		t.Fatal(err)
	}
	if got := machine(t) + "\n" + cgroupsLeft(t); got != before {
		t.Errorf("after down:\n%s\nbefore up:\n%s", got, before)
	}
	if left := processesWith(t, r.DataDir); len(left) > 0 {
		t.Errorf("processes after down: %v", left)
	}
}

func TestNodeFails(t *testing.T) {
	needRuntime(t)
	l, _ := newLab(t)
	before := machine(t)
	one := 1
	t.Setenv(envNode, "die")
	dir := t.TempDir()
	_, err := l.Up(t.Context(), Request{Name: "fails", DataDir: dir, Nodes: &one}, settings("fails"))
	want := `worker0: the node agent ended (exit code 2), and its log says "panic: no way"; see ` + nodeRoot(dir, "worker0") + "/logs/node.log"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := machine(t); got != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", got, before)
	}
}

// boxesOf returns the pids of the boxes of the first n nodes, and checks that there are no others.
func boxesOf(t *testing.T, dir string, n int) []int {
	t.Helper()
	var pids []int
	for i := range n {
		pid, err := boxPID(dir, nodeName(i))
		if err != nil || pid == 0 {
			t.Fatalf("box of %s: %d, %v", nodeName(i), pid, err)
		}
		pids = append(pids, pid)
	}
	if pid, _ := boxPID(dir, nodeName(n)); pid != 0 {
		t.Errorf("there is a box of %s", nodeName(n))
	}
	return pids
}

// inBox returns the child of a box that runs the program, 0 if it does not run.
func inBox(t *testing.T, box int, program string) int {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", box))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		data, _ := os.ReadFile(thread)
		for field := range strings.FieldsSeq(string(data)) {
			var pid int
			_, _ = fmt.Sscan(field, &pid)
			if argv := cmdline(pid); len(argv) > 1 && (filepath.Base(argv[0]) == program || argv[1] == program) {
				return pid
			}
		}
	}
	return 0
}

func dialCRI(t *testing.T, root string) cri.RuntimeServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+filepath.Join(root, containerdSocket), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return cri.NewRuntimeServiceClient(conn)
}

// runSandbox runs a Pod without containers on the node's network.
func runSandbox(t *testing.T, runtime cri.RuntimeServiceClient) string {
	t.Helper()
	answer, err := runtime.RunPodSandbox(t.Context(), &cri.RunPodSandboxRequest{Config: &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: fmt.Sprint(time.Now().UnixNano())},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    nodeCgroup("nodes", "worker0") + "/pod",
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}},
		},
	}}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return answer.PodSandboxId
}

func sandboxReady(runtime cri.RuntimeServiceClient, id string) bool {
	answer, err := runtime.PodSandboxStatus(context.Background(), &cri.PodSandboxStatusRequest{PodSandboxId: id}, grpc.WaitForReady(true))
	return err == nil && answer.Status.State == cri.PodSandboxState_SANDBOX_READY
}

// cgroupsLeft lists what duet has in the hierarchies.
func cgroupsLeft(t *testing.T) string {
	t.Helper()
	points, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range points {
		found, _ := filepath.Glob(filepath.Join(p, clusterCgroup("nodes")) + "*")
		out = append(out, found...)
	}
	return strings.Join(out, "\n")
}

func processesWith(t *testing.T, text string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range all {
		var pid int
		_, _ = fmt.Sscan(filepath.Base(p), &pid)
		if line := strings.Join(cmdline(pid), " "); strings.Contains(line, text) && pid != os.Getpid() {
			out = append(out, line)
		}
	}
	return out
}

// Pods are told of cluster DNS in the order of their own families.
func TestClusterDNS(t *testing.T) {
	const s4, s6, p4, p6 = "10.96.0.0/16", "fd00:10:96::/112", "10.244.0.0/16", "fd00:10:244::/56"
	parse := func(list ...string) (out []netip.Prefix) {
		for _, text := range list {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	for _, tt := range []struct {
		name           string
		services, pods []netip.Prefix
		want           string
	}{
		{"v4", parse(s4), parse(p4), "[10.96.0.10]"},
		{"v6", parse(s6), parse(p6), "[fd00:10:96::a]"},
		{"v4+v6", parse(s4, s6), parse(p4, p6), "[10.96.0.10 fd00:10:96::a]"},
		{"v6+v4", parse(s6, s4), parse(p6, p4), "[fd00:10:96::a 10.96.0.10]"},
		{"Pods the other way around", parse(s4, s6), parse(p6, p4), "[fd00:10:96::a 10.96.0.10]"},
		{"Pods of one family", parse(s4, s6), parse(p6), "[fd00:10:96::a]"},
		{"no family in common", parse(s4), parse(p6), "[10.96.0.10]"},
		{"no tenth address", parse("10.96.0.0/29"), parse(p4), "[]"},
	} {
		if got := fmt.Sprint(clusterDNS(Settings{ServiceCIDRs: tt.services, PodCIDRs: tt.pods})); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
