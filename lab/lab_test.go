package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/sandbox"
)

// contexts is a Kubeconfigs that keeps what would be written.
type contexts map[string][]string

func (c contexts) Merge(_ context.Context, file, admin string) error {
	cluster, err := os.ReadFile(admin) // the fake server writes the name alone
	if name := string(cluster); err == nil && !slices.Contains(c[file], name) {
		c[file] = append(c[file], name)
	}
	return err
}

func (c contexts) Remove(_ context.Context, file, cluster string) error {
	c[file] = slices.DeleteFunc(c[file], func(s string) bool { return s == cluster })
	return nil
}

func newLab(t *testing.T) (*Lab, contexts) {
	t.Helper()
	sandbox.Need(t)
	c := contexts{}
	return &Lab{Program: []string{"/proc/self/exe"}, Kubeconfigs: c, Cluster: joined{t}, Progress: func(string) {}}, c
}

func settings(name string) Settings {
	return Settings{
		Name: name, Kubeconfig: "config",
		ServiceCIDRs: prefixes("10.96.0.0/16", "fd00:10:96::/112"), PodCIDRs: prefixes("10.244.0.0/16"),
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// up brings a cluster up in a directory of its own and down at the end of the test.
func up(t *testing.T, l *Lab, r Request) Result {
	t.Helper()
	if r.Name == "" {
		r.Name = "duet"
	}
	got, err := l.Up(t.Context(), r, settings(r.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background(), r.Name, r.DataDir); err != nil {
			t.Error(err)
		}
	})
	return got
}

// machine writes down what a cluster leaves on a machine: namespaces, links, tables, mounts.
func machine(t *testing.T) string {
	t.Helper()
	var out []string
	entries, _ := os.ReadDir(netnsDir)
	for _, e := range entries {
		out = append(out, "netns "+e.Name())
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		out = append(out, "link "+l.Attrs().Name)
	}
	for _, name := range forwardingSysctls {
		v, _ := hostnet.Sysctl(name)
		out = append(out, name+" "+v)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		out = append(out, "mount "+strings.Fields(line)[1])
	}
	return strings.Join(out, "\n")
}

func TestLife(t *testing.T) {
	l, kube := newLab(t)
	before := machine(t)
	dir := filepath.Join(t.TempDir(), "data")
	r := Request{Name: "life", DataDir: dir}
	first := up(t, l, r)

	status := inspect(t, r)
	if status.State != Running || status.Health != "ok" || status.PID == 0 || status.Port != first.Settings.Port {
		t.Errorf("after up: %+v", status)
	}
	if got, want := fmt.Sprint(status.Addresses), "map[control:[172.30.0.2 fd00:172:30::2]]"; got != want {
		t.Errorf("addresses: got %s, want %s", got, want)
	}
	if got := kube["config"]; !slices.Equal(got, []string{"life"}) {
		t.Errorf("contexts after up: %v", got)
	}

	again := up(t, l, r)
	if now := inspect(t, r); !again.Already || now.PID != status.PID {
		t.Errorf("a second up: %+v, pid %d → %d", again, status.PID, now.PID)
	}

	kill(t, status.PID)
	if s := inspect(t, r); s.State != Stopped {
		t.Errorf("after kill -9: %+v", s)
	}
	must(os.WriteFile(filepath.Join(dir, "kept"), []byte("data"), 0o600))
	resumed := up(t, l, r)
	if resumed.Already || resumed.Settings.Port != first.Settings.Port {
		t.Errorf("resume: %+v, want port %d", resumed, first.Settings.Port)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
		t.Error("data lost on resume:", err)
	}

	for range 2 {
		if err := l.Down(t.Context(), "life", dir); err != nil {
			t.Fatal(err)
		}
	}
	if got := machine(t); got != before {
		t.Errorf("after down:\n%s\nbefore up:\n%s", got, before)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("data directory after down:", err)
	}
	if len(kube["config"]) != 0 {
		t.Errorf("contexts after down: %v", kube["config"])
	}
	var none *NoClusterError
	if _, err := l.Inspect(t.Context(), "life", dir); !errors.As(err, &none) {
		t.Errorf("status after down: %v", err)
	}
}

func inspect(t *testing.T, r Request) Status {
	t.Helper()
	s, err := (&Lab{Cluster: joined{t}}).Inspect(t.Context(), r.Name, r.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kill(t *testing.T, pid int) {
	t.Helper()
	must(unix.Kill(pid, unix.SIGKILL))
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
}

func TestReachable(t *testing.T) {
	l, _ := newLab(t)
	r := Request{Name: "reach", DataDir: t.TempDir()}
	up(t, l, r)
	// From another member's place, over the bridge.
	err := within(namespaceName("reach", memberNet), func() error {
		for _, a := range addrs(numbered(numberControl)) {
			d := net.Dialer{Timeout: 2 * time.Second}
			c, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(a.String(), "6443"))
			if err != nil {
				return err
			}
			c.Close()
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// No address waits for duplicate address detection, not even the link's own: without it a member
	// forwards IPv6 to nobody.
	err = within(namespaceName("reach", memberControl), func() error {
		list, err := netlink.AddrList(nil, netlink.FAMILY_V6)
		for _, a := range list {
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				t.Errorf("%s is tentative", a.IPNet)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// And there is no way out.
	err = within(namespaceName("reach", memberControl), func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		for _, route := range routes {
			if route.Gw != nil {
				t.Errorf("a route out: %v", route)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	l, kube := newLab(t)
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	must(err)
	defer busy.Close()
	port := uint16(busy.Addr().(*net.TCPAddr).Port)
	foreignDir := t.TempDir()
	must(os.WriteFile(filepath.Join(foreignDir, "letter"), nil, 0o600))
	running := t.TempDir()
	up(t, l, Request{Name: "here", DataDir: running})
	locked := t.TempDir()
	lock, err := LockData(locked)
	must(err)
	defer lock.Close()
	many := 3

	rows := []struct {
		name    string
		request Request
		server  string // what the fake server does
		want    string
	}{
		{"port taken", Request{DataDir: t.TempDir(), Port: &port}, "", "the port is in use by another program; stop it, or take a free port with --port 0"},
		{"another's directory", Request{DataDir: foreignDir}, "", "holds letter but no cluster.json"},
		{"locked by a process", Request{DataDir: locked}, "", fmt.Sprintf("in use by another duet (pid %d)", os.Getpid())},
		{"another cluster's directory", Request{DataDir: running}, "", `--name "new": the data directory belongs to cluster "here"`},
		{"a name that runs elsewhere", Request{Name: "here", DataDir: t.TempDir()}, "", `cluster "here" runs with --data-dir ` + running},
		{"too many nodes", Request{DataDir: t.TempDir(), Nodes: &many, PodCIDRs: prefixes("10.244.0.0/23")}, "", `--nodes "3": no more than 2 fit the lab's range and 10.244.0.0/23 of --pod-cidr`},
		{"overlap", Request{DataDir: t.TempDir(), ServiceCIDRs: prefixes("10.244.3.0/24")}, "", "10.244.3.0/24 overlaps 10.244.0.0/16 of --pod-cidr"},
		{"overlap with the lab", Request{DataDir: t.TempDir(), ServiceCIDRs: prefixes("172.0.0.0/8")}, "", "overlaps 172.30.0.0/24"},
		{"the server refuses", Request{DataDir: t.TempDir()}, "refuse", `start the control plane of cluster "new": the disk is full; see `},
		{"the server dies", Request{DataDir: t.TempDir()}, "die", `its log says "panic: oh no"`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv(envServer, row.server)
			before := machine(t)
			if row.request.Name == "" {
				row.request.Name = "new"
			}
			_, err := l.Up(t.Context(), row.request, settings(row.request.Name))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
			if got := machine(t); got != before {
				t.Errorf("left behind:\n%s\nbefore:\n%s", got, before)
			}
			if len(kube["config"]) != 1 {
				t.Errorf("contexts: %v", kube)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(foreignDir, "letter")); err != nil {
		t.Error(err)
	}
	if err := l.Down(t.Context(), "new", foreignDir); err == nil || !strings.Contains(err.Error(), "holds letter") {
		t.Errorf("down of another's directory: %v", err)
	}
	if err := l.Down(t.Context(), "new", locked); !errors.As(err, new(*HeldError)) {
		t.Errorf("down of a directory in use: %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	l, _ := newLab(t)
	t.Setenv(envServer, "hang")
	before := machine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := l.Up(ctx, Request{Name: "late", DataDir: t.TempDir()}, settings("late"))
	if err == nil {
		t.Fatal("up of a server that hangs")
	}
	if got := machine(t); got != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", got, before)
	}
}

func TestChangedSettings(t *testing.T) {
	l, kube := newLab(t)
	dir := t.TempDir()
	r := Request{Name: "change", DataDir: dir}
	first := up(t, l, r)
	pid := inspect(t, r).PID

	r.ServiceCIDRs = prefixes("10.96.0.0/16")
	r.Kubeconfig = "elsewhere"
	got := up(t, l, r)
	if got.Already || got.Settings.Port != first.Settings.Port || inspect(t, r).PID == pid {
		t.Errorf("up with another range: %+v", got)
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil || !strings.Contains(string(args), "--service-cidr=10.96.0.0/16\n") {
		t.Errorf("the server was started with %q, %v", args, err)
	}
	if want := "map[config:[] elsewhere:[change]]"; fmt.Sprint(kube) != want {
		t.Errorf("contexts: got %v, want %s", kube, want)
	}
	if again := up(t, l, Request{Name: "change", DataDir: dir}); !again.Already || again.Settings.Kubeconfig != "elsewhere" {
		t.Errorf("what was remembered: %+v", again)
	}
}

// TestAfterReboot: the namespaces are gone, the data is not; and without --data-dir a running
// cluster is found by its name.
func TestAfterReboot(t *testing.T) {
	l, _ := newLab(t)
	r := Request{Name: "boot", DataDir: t.TempDir()}
	up(t, l, r)
	kill(t, inspect(t, r).PID)
	must(removeNetwork("boot"))
	up(t, l, r)
	if s := inspect(t, Request{Name: "boot"}); s.DataDir != r.DataDir || s.Health != "ok" {
		t.Errorf("%+v", s)
	}
}

func TestStrayProcesses(t *testing.T) {
	l, _ := newLab(t)
	r := Request{Name: "stray", DataDir: t.TempDir()}
	up(t, l, r)
	var stray *os.Process
	must(within(namespaceName("stray", memberControl), func() (err error) {
		stray, err = os.StartProcess("/bin/sleep", []string{"sleep", "600"}, &os.ProcAttr{})
		return err
	}))
	must(l.Down(t.Context(), "stray", r.DataDir))
	state, err := stray.Wait()
	if err != nil || state.Sys().(interface{ Signaled() bool }).Signaled() == false {
		t.Errorf("a process in the cluster's namespace: %v, %v", state, err)
	}
}

func TestMountsBelowData(t *testing.T) {
	l, _ := newLab(t)
	r := Request{Name: "mounts", DataDir: filepath.Join(t.TempDir(), "with space")}
	up(t, l, r)
	outside := t.TempDir()
	must(os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600))
	at := filepath.Join(r.DataDir, "node", "rootfs")
	must(os.MkdirAll(at, 0o700))
	must(unix.Mount(outside, at, "", unix.MS_BIND, ""))
	must(l.Down(t.Context(), "mounts", r.DataDir))
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Error("down went through a mount:", err)
	}
}
