package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/duetk8s/duet/test/cluster"
)

// machine is what a real one is to the program: a host name, processes, a network, /etc, /run and
// /var/lib of its own. It is a process in namespaces, and ends with it.
type machine struct {
	name, dir string
	init      *exec.Cmd
	pid       int // of the first process, as the host sees it
	running   map[string]*exec.Cmd
}

// The first process takes in orphans: bash waits for all children.
const machineInit = `set -e
hostname "$1"
test -e "$2/etc" || cp -a /etc "$2/etc"
for d in etc var/lib root; do mkdir -p "$2/$d"; mount --bind "$2/$d" "/$d"; done
mount -t tmpfs tmpfs /run
ip link set lo up
echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries # as systemd does
echo up
while :; do sleep 1000 & wait $!; done`

// newMachine starts one, without a network yet.
func newMachine(t *testing.T, name string) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("machines need root")
	}
	m := &machine{name: name, dir: t.TempDir(), running: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		if t.Failed() {
			m.complaints(t)
		}
		m.off(t)
	})
	if err := errors.Join(os.Mkdir(m.dir+"/bin", 0o755), os.Symlink(cluster.Program(), m.dir+"/bin/duet")); err != nil {
		t.Fatal(err)
	}
	m.on(t)
	return m
}

// on starts it, with the disk that it has.
func (m *machine) on(t *testing.T) {
	t.Helper()
	m.init = exec.Command("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
		"bash", "-c", machineInit, "bash", m.name, m.dir)
	m.init.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := m.init.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.init.Start(); err != nil {
		t.Fatal(err)
	}
	up := make([]byte, 3)
	if _, err := out.Read(up); err != nil {
		t.Fatalf("machine %s did not come up: %v", m.name, err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.init.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if m.pid, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
		t.Fatal(err)
	}
}

// off is what pulling the plug does.
func (m *machine) off(t *testing.T) {
	t.Helper()
	if m.pid == 0 {
		return
	}
	_ = syscall.Kill(m.pid, syscall.SIGKILL)
	_ = m.init.Wait()
	for _, c := range m.running {
		_ = c.Wait()
	}
	m.pid, m.running = 0, map[string]*exec.Cmd{}
	for _, cgroup := range m.cgroups() {
		cluster.Eventually(t, "the end of "+cgroup, func() string {
			if err := os.Remove(cgroup); err != nil && !os.IsNotExist(err) {
				return err.Error()
			}
			return ""
		})
	}
}

// cgroup that the machine's Pods are below.
func (m *machine) cgroup() string { return fmt.Sprintf("/duet/t%d-%s", os.Getpid(), m.name) }

// cgroups are the folders of it, the deepest first.
func (m *machine) cgroups() []string {
	var out []string
	tops, _ := filepath.Glob("/sys/fs/cgroup/*" + m.cgroup())
	for _, top := range append(tops, "/sys/fs/cgroup"+m.cgroup()) {
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append([]string{path}, out...)
			}
			return nil
		})
	}
	return out
}

// command is to run on the machine.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(m.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/", "--",
	}, args...)...)
	c.Env = []string{"PATH=" + m.dir + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
	return c
}

// run runs a command on the machine and returns what it said.
func (m *machine) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Patience)
	defer cancel()
	out, err := m.command(ctx, args...).CombinedOutput()
	return string(out), err
}

func (m *machine) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.run(args...)
	if err != nil {
		t.Fatalf("%s# %s: %v\n%s", m.name, strings.Join(args, " "), err, out)
	}
	return out
}

// start has a program run in the background, as a service does. Its log is in the machine's folder.
func (m *machine) start(t *testing.T, service string, args ...string) {
	t.Helper()
	log, err := os.OpenFile(m.log(service), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := m.command(context.Background(), append([]string{"sh", "-c", `echo $$ >"/run/$0.pid"; exec "$@"`, service}, args...)...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	m.running[service] = c
}

// stop ends a service as `systemctl stop` does and returns how it ended.
func (m *machine) stop(t *testing.T, service string) error {
	t.Helper()
	m.must(t, "sh", "-c", `kill "$(cat "/run/$0.pid")"`, service)
	c := m.running[service]
	delete(m.running, service)
	return c.Wait()
}

func (m *machine) log(service string) string { return filepath.Join(m.dir, service+".log") }

func (m *machine) complaints(t *testing.T) {
	logs, _ := filepath.Glob(m.log("*"))
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		lines := bytes.Split(text, []byte("\n"))
		t.Logf("== %s: %s\n%s", m.name, filepath.Base(log), bytes.Join(lines[max(0, len(lines)-25):], []byte("\n")))
	}
}

// plug joins two machines by a cable; each has eth0, up, with its addresses.
func plug(t *testing.T, one, other *machine, oneAddrs, otherAddrs []string) {
	t.Helper()
	_, _ = one.run("ip", "link", "delete", "eth0") // of an earlier cable: the kernel takes its time with that
	// ip runs on the host's files but in the machine's network: it must see the other's process.
	ip := exec.Command("nsenter", "--target", strconv.Itoa(one.pid), "--net", "--", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(other.pid))
	if out, err := ip.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for m, addrs := range map[*machine][]string{one: oneAddrs, other: otherAddrs} {
		for _, a := range addrs {
			m.address(t, "add", a)
		}
		m.must(t, "ip", "link", "set", "eth0", "up")
	}
}

// address adds or deletes one of eth0's, with what ip says further about it.
func (m *machine) address(t *testing.T, verb, prefix string, further ...string) {
	t.Helper()
	args := []string{"ip", "address", verb, prefix, "dev", "eth0"}
	if verb == "add" && strings.Contains(prefix, ":") {
		args = append(args, "nodad")
	}
	m.must(t, append(args, further...)...)
}

// containerd starts the machine's, with the configuration that a distribution has but for what a
// machine in a container cannot do.
func (m *machine) containerd(t *testing.T) {
	t.Helper()
	config := filepath.Join(m.dir, "etc/containerd/config.toml")
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(machineContainerd), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start(t, "containerd", "containerd")
	cluster.Eventually(t, "containerd on "+m.name, func() string {
		if out, err := m.run("ctr", "version"); err != nil {
			return out
		}
		return ""
	})
}

const machineContainerd = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
`

// load puts an image into the machine's containerd, which has no registry to ask.
func (m *machine) load(t *testing.T, archive string) {
	t.Helper()
	abs, err := filepath.Abs(archive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Skipf("%v: run `make images`", err)
	}
	m.must(t, "ctr", "--namespace", "k8s.io", "images", "import", abs)
}
