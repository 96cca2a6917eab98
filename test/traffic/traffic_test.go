// Package traffic tells, on a real lab of two nodes without a way out, which connections to Services
// come to pass, who answers them and whom the server sees: all combinations at once
// (TestMatrix), and what becomes of connections while the cluster changes (the stories).
//
// Both ends are program peer, in this folder. It runs in Pods, which find it on the host, in the
// namespaces of nodes, and in one of our own that is on the lab's bridge as a neighbour of the nodes.
package traffic

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/cluster"
)

// TestMain silences client-go, which logs every connection that dies.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

const serverPort = 8080

// The outside: a machine beside the nodes.
var (
	outsideIPs = []netip.Prefix{netip.MustParsePrefix("172.30.0.180/24"), netip.MustParsePrefix("fd00:172:30::180/64")}
	// What Services have as externalIPs is routed to worker0 there, by hand.
	externalRanges = []string{"198.51.100.0/24", "2001:db8:100::/64"}
)

// lab is a cluster with peers.
type lab struct {
	*cluster.Lab
	bin     string // folder of program peer, which Pods see as /peer
	outside string // path of a network namespace
}

func newLab(t testing.TB, flags ...string) *lab {
	t.Helper()
	l := &lab{Lab: cluster.New(t, append([]string{"--nodes", "2", "--allow-external-ips"}, flags...)...), bin: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", l.peer(), "./peer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs in images of all kinds
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build peer: %v: %s", err, out)
	}
	l.buildOutside(t)
	return l
}

func (l *lab) peer() string { return filepath.Join(l.bin, "peer") }

// run is a command that has to succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// buildOutside makes the neighbour. It has no default route: it knows the nodes' network, with the
// load balancers' addresses in it, and nothing of Pods and ClusterIPs.
func (l *lab) buildOutside(t testing.TB) {
	t.Helper()
	name, bridge := "outside-"+l.Name, filepath.Base(l.Namespace("net"))
	l.outside = filepath.Join("/run/netns", name)
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { // t's context has ended
		if out, err := exec.CommandContext(context.Background(), "ip", "netns", "del", name).CombinedOutput(); err != nil {
			t.Errorf("remove %s: %v: %s", name, err, out)
		}
	})
	for line := range strings.Lines(strings.NewReplacer("OUTSIDE", name, "BRIDGE", bridge).Replace(`
link add outside netns BRIDGE type veth peer name eth0 netns OUTSIDE
-n BRIDGE link set outside master br0 up
-n OUTSIDE link set lo up
-n OUTSIDE link set eth0 up
`)) {
		if line = strings.TrimSpace(line); line != "" {
			run(t, "ip", strings.Fields(line)...)
		}
	}
	for i, address := range outsideIPs {
		run(t, "ip", "-n", name, "addr", "add", address.String(), "dev", "eth0", "nodad")
		run(t, "ip", "-n", name, "route", "add", externalRanges[i], "via", l.nodeIPs(t, "worker0")[i].String())
	}
}

// nodeIPs are the addresses of a node, IPv4 first.
func (l *lab) nodeIPs(t testing.TB, node string) []netip.Addr {
	t.Helper()
	out := make([]netip.Addr, 2)
	text := run(t, "ip", "-n", filepath.Base(l.Namespace(node)), "-o", "addr", "show", "dev", "eth0", "scope", "global", "permanent")
	for line := range strings.Lines(text) {
		p := netip.MustParsePrefix(strings.Fields(line)[3])
		switch {
		case p.Addr().Is4():
			out[0] = p.Addr()
		case !out[1].IsValid():
			out[1] = p.Addr()
		}
	}
	return out
}

// neighbour is the number of the node that answers for an address, as the outside has learnt.
func (l *lab) neighbour(t testing.TB, address netip.Addr) (node int, ok bool) {
	t.Helper()
	learnt := run(t, "ip", "-n", filepath.Base(l.outside), "neigh", "show", "to", address.String())
	for i := range 2 {
		link := run(t, "ip", "-n", filepath.Base(l.Namespace(fmt.Sprintf("worker%d", i))), "-o", "link", "show", "dev", "eth0")
		_, mac, _ := strings.Cut(link, "link/ether ") // link/ether 1a:2b:… brd …
		if mac, _, _ = strings.Cut(mac, " "); strings.Contains(learnt, mac) {
			return i, true
		}
	}
	return 0, false
}

// moves counts, until it is asked, how often somebody outside was told another station for an address.
func (l *lab) moves(t testing.TB) func() map[netip.Addr]int {
	t.Helper()
	told, stop := make(chan netlink.NeighUpdate), make(chan struct{})
	var known []netlink.Neigh
	if err := hostnet.Within(l.outside, func() (err error) {
		if err = netlink.NeighSubscribe(told, stop); err == nil {
			known, err = netlink.NeighList(0, netlink.FAMILY_ALL)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	moved, ended := map[netip.Addr]int{}, make(chan struct{})
	at := map[netip.Addr]string{}
	learn := func(n netlink.Neigh) {
		addr, _ := netip.AddrFromSlice(n.IP)
		now, before := n.HardwareAddr.String(), at[addr.Unmap()]
		if now == "" {
			return // not known yet, or no more
		}
		if before != "" && before != now {
			moved[addr.Unmap()]++
		}
		at[addr.Unmap()] = now
	}
	for _, n := range known {
		learn(n)
	}
	go func() {
		defer close(ended)
		for n := range told {
			learn(n.Neigh)
		}
	}()
	return sync.OnceValue(func() map[netip.Addr]int {
		close(stop)
		<-ended
		return moved
	})
}

// server is a Pod that answers with its name on the Service port's target. Asked to end, it serves on
// until [lab.release].
func (l *lab) server(name, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := cluster.Busybox(name, "", cluster.On(node))
	pod.Labels = map[string]string{"app": name}
	pod.Spec.Volumes = []corev1.Volume{{Name: "peer", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: l.bin}}}}
	c := &pod.Spec.Containers[0]
	c.Command = []string{"/peer/peer", "serve", "-until", "/peer/leave-$(NAME)", "$(NAME)", fmt.Sprint(serverPort), "$(ADDRESSES)"}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "peer", MountPath: "/peer", ReadOnly: true}}
	for name, path := range map[string]string{"NAME": "metadata.name", "ADDRESSES": "status.podIPs"} {
		c.Env = append(c.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}})
	}
	c.ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(serverPort)}},
		PeriodSeconds: 1,
	}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60)
	for _, f := range change {
		f(pod)
	}
	return pod
}

func hostNetwork(p *corev1.Pod) {
	p.Spec.HostNetwork = true
	p.Spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
}

// release lets servers end that have been asked to.
func (l *lab) release(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(l.bin, "leave-"+name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// at is how to run program peer somewhere.
type at []string

// inPod enters the first container of a Pod without help of the cluster, so that what runs there
// outlives all parts of the node.
func (l *lab) inPod(t testing.TB, pod *corev1.Pod) at {
	t.Helper()
	pids := l.Inside(t, pod)
	if len(pids) == 0 {
		t.Fatalf("nothing runs in %s", pod.Name)
	}
	return at{"nsenter", "--target", fmt.Sprint(pids[0]), "--net", "--mount", "--", "/peer/peer"}
}

func (l *lab) onNode(node string) at {
	return at{"nsenter", "--net=" + l.Namespace(node), "--", l.peer()}
}

func (l *lab) fromOutside() at { return at{"nsenter", "--net=" + l.outside, "--", l.peer()} }

// command runs program peer there.
func (a at) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, a[0], append(append([]string{}, a[1:]...), args...)...)
}

// probe asks for all the lines "tcp4 10.96.0.7:80" and returns the answers to them.
func (a at) probe(t testing.TB, lines []string, flags ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := a.command(ctx, append([]string{"probe"}, flags...)...)
	c.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %v: %s", a, err, errs.String())
	}
	said := map[string]string{}
	for line := range strings.Lines(out.String()) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		said[f[0]+" "+f[1]] = f[2]
	}
	return said
}
