package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/lab"
)

// envMain makes the test binary behave as duet itself.
const envMain = "DUET_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		os.Exit(Main(context.Background(), Program{Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}))
	}
	os.Exit(m.Run())
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), Program{Args: args, Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }})
	return code, out.String(), errs.String()
}

// TestWrongUsage: one line that names the flag, the value and the remedy; exit code 2; and nothing
// has been touched, so these need no root.
func TestWrongUsage(t *testing.T) {
	ranges := "; want e.g. 10.96.0.0/16,fd00:10:96::/112\n"
	rows := []struct {
		name, args string
		begins     string
		ends       string
	}{
		{"no such verb", "frob", `duet: unknown command "frob" for "duet"; see`, "`duet --help`\n"},
		{"an argument", "up x", `duet: unknown command "x" for "duet up"; see`, "`duet up --help`\n"},
		{"no such flag", "up --frob", "duet: unknown flag: --frob; see", "`duet up --help`\n"},
		{"no value", "up --nodes", "duet: flag needs an argument: --nodes; see", "`duet up --help`\n"},
		{"not a number", "up --nodes two", `duet: --nodes "two": `, "want a whole number, e.g. 2\n"},
		{"a negative number", "up --nodes -1", `duet: --nodes "-1": `, "want 0 or more\n"},
		{"not a bool", "up --uplink=perhaps", `duet: --uplink "perhaps": `, "want true or false\n"},
		{"not a port", "up --port 65536", `duet: --port "65536": `, "want a number from 0 to 65535\n"},
		{"name with a dot", "up --name a.b", `duet: --name "a.b": `, "e.g. duet\n"},
		{"name that is a path", "down --name ../x", `duet: --name "../x": `, "e.g. duet\n"},
		{"v4 range too long", "up --service-cidr 10.0.0.0/33", `duet: --service-cidr "10.0.0.0/33": `, ranges},
		{"v6 range too long", "up --service-cidr fd00::/129", `duet: --service-cidr "fd00::/129": `, ranges},
		{"v4+v4", "up --service-cidr 10.0.0.0/16,10.1.0.0/16", `duet: --service-cidr "10.0.0.0/16,10.1.0.0/16": `, ranges},
		{"v6+v6", "server --service-cidr fd00::/112,fd01::/112", `duet: --service-cidr "fd00::/112,fd01::/112": `, ranges},
		{"three", "up --service-cidr 10.0.0.0/16,fd00::/112,10.1.0.0/16", "duet: --service-cidr ", ranges},
		{"empty", "up --service-cidr=", `duet: --service-cidr "": `, ranges},
		{"no room for a node v4", "up --pod-cidr 10.0.0.0/25", `duet: --pod-cidr "10.0.0.0/25": `, "fd00:10:244::/56\n"},
		{"no room for a node v6", "server --pod-cidr fd00::/65", `duet: --pod-cidr "fd00::/65": `, "fd00:10:244::/56\n"},
		{"port range", "server --service-node-port-range 5-3", `duet: --service-node-port-range "5-3": `, "30000-32767\n"},
		{"port range with a tail", "server --service-node-port-range 1-3,5", `duet: --service-node-port-range "1-3,5": `, "30000-32767\n"},
		{"advertise loopback", "server --advertise ::1", `duet: --advertise "::1": `, "2001:db8::10\n"},
		{"advertise", "server --advertise ::", `duet: --advertise "::": `, "2001:db8::10\n"},
		{"etcd in clear text", "server --etcd-servers http://192.0.2.1:2379", `duet: --etcd-servers "http://192.0.2.1:2379": `, "https://192.0.2.10:2379\n"},
		{"half a key pair", "server --etcd-certfile x", "duet: --etcd-certfile and --etcd-keyfile", "both or neither\n"},
		{"output", "status --output yaml", `duet: --output "yaml": `, "want text or json\n"},
		{"no server", "node", `duet: --server "": `, "want e.g. https://192.0.2.10:6443\n"},
		{"server in clear text", "node --server http://192.0.2.1", `duet: --server "http://192.0.2.1": `, "want e.g. https://192.0.2.10:6443\n"},
		{"not a token", "node --server https://192.0.2.1 --token abc", `duet: --token "…": `, "lower-case letters and digits\n"},
		{"two addresses of a family", "node --server https://192.0.2.1 --node-ip 192.0.2.1,192.0.2.2", `duet: bad --node-ip "192.0.2.1,192.0.2.2": `, "must contain either a single IP or a dual-stack pair of IPs\n"},
		{"half an address", "node --server https://192.0.2.1 --node-ip 192.0.2.1,::", `duet: bad --node-ip "192.0.2.1,::": `, "dual-stack node IP cannot include '0.0.0.0' or '::'\n"},
		{"not a label", "node --server https://192.0.2.1 --label x", `duet: --label "x": `, "zone=a\n"},
		{"not a taint", "node --server https://192.0.2.1 --taint a=b", `duet: --taint "a=b": `, ":NoSchedule\n"},
		{"no Pods", "node --server https://192.0.2.1 --max-pods 0", `duet: --max-pods "0": `, "want e.g. 110\n"},
		{"a box by hand", "box -- x", "duet: a box is started by `duet up`", "\n"},
		{"no file", "image load", "duet: requires at least 1 arg", "`duet image load --help`\n"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			code, out, errs := run(t, strings.Fields(row.args)...)
			if code != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, row.begins) || !strings.HasSuffix(errs, row.ends) {
				t.Errorf("exit %d, %q\n got  %s want %s … %s", code, out, errs, row.begins, row.ends)
			}
		})
	}
}

// TestNodePreflight: what a machine lacks is said with the remedy, before anything is done.
func TestNodePreflight(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, as a node does")
	}
	dir := t.TempDir()
	ca, dead := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "dead.sock")
	if err := os.WriteFile(ca, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	rows := []struct{ name, args, want string }{
		{"no CA", "--root-dir " + dir, "duet: find the CA of the cluster: "},
		{"no runtime", "--ca-file " + ca + " --cri-socket " + dir + "/none.sock", "there is no socket " + dir + "/none.sock; apt-get install containerd"},
		{"a dead runtime", "--ca-file " + ca + " --cri-socket unix://" + dead, "nobody listens on " + dead + "; systemctl start containerd"},
		{"no token file", "--ca-file " + ca + " --token-file " + dir + "/none", "read the token: "},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			code, _, errs := run(t, strings.Fields("node --server https://192.0.2.1:6443 "+row.args)...)
			if code != exitFailed || !strings.Contains(errs, row.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit %d\n got  %s want %s", code, errs, row.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := run(t, "version", "--output", "json")
	var v versions
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitFine || v.Kubernetes == "" || v.Platform == "" {
		t.Errorf("exit %d, %s, %v", code, out, err)
	}
}

// TestRequest: only flags that were given ask for a change; all of them make a new cluster.
func TestRequest(t *testing.T) {
	p := Program{Getenv: func(name string) string {
		return map[string]string{"HOME": "/home/u", "KUBECONFIG": ":/k/one:/k/two"}[name]
	}}
	request := func(args ...string) (lab.Request, lab.Settings) {
		t.Helper()
		var f upFlags
		var c cobra.Command
		f.addFlags(&c)
		if err := c.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		r, fresh, err := p.request(&c, f)
		if err != nil {
			t.Fatal(err)
		}
		return r, fresh
	}
	r, fresh := request()
	if r.Nodes != nil || r.ServiceCIDRs != nil || r.PodCIDRs != nil || r.Uplink != nil || r.Kubeconfig != "" || r.Port != nil {
		t.Errorf("no flags ask for %+v", r)
	}
	if fresh.Nodes != 2 || len(fresh.ServiceCIDRs) != 2 || fresh.Kubeconfig != "/k/one" {
		t.Errorf("no flags make %+v", fresh)
	}
	r, _ = request("--nodes", "0", "--service-cidr", "fd00::/112,10.0.0.0/16", "--kubeconfig", "/x")
	if r.Nodes == nil || *r.Nodes != 0 || r.ServiceCIDRs[0].String() != "fd00::/112" || r.Kubeconfig != "/x" || r.PodCIDRs != nil {
		t.Errorf("flags ask for %+v", r)
	}
}

// TestServerReports: the one who started a server learns over the pipe why it does not run.
func TestServerReports(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(writer.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
	f := serverFlags{name: "duet", dataDir: t.TempDir(), serviceCIDR: "x", podCIDR: defaultPodCIDR, listenFD: noFD, lockFD: noFD, readyFD: fd}
	if err := (Program{Stderr: io.Discard}).server(t.Context(), f); !isUsage(err) {
		t.Errorf("got %v", err)
	}
	said, err := io.ReadAll(reader)
	if err != nil || !strings.HasPrefix(string(said), `--service-cidr "x": `) {
		t.Errorf("said %q, %v", said, err)
	}
}

func TestServerRefusesDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	lock, err := lab.LockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	code, _, errs := run(t, "server", "--data-dir", dir, "--listen", "127.0.0.1:0", "--advertise", "192.0.2.10")
	if code != exitFailed || !strings.Contains(errs, "is in use by another duet") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// TestKubectl runs the bundled kubectl as a program, because it exits by itself.
func TestKubectl(t *testing.T) {
	rows := []struct {
		name, args string
		code       int
		want       string
	}{
		{"client version", "kubectl version --client", 0, "Client Version: "},
		{"unknown verb", "kubectl frob", 1, `error: unknown command "frob" for "kubectl"`},
		{"unknown flag", "kubectl get --frob", 1, "error: unknown flag: --frob"},
		{"its own help", "kubectl create --help", 0, "kubectl create -f FILENAME"},
		{"missing file", "kubectl create --dry-run=client -f /nowhere", 1, `error: the path "/nowhere" does not exist`},
		{"no server", "kubectl get svc --token x --server https://127.0.0.1:1", 1, "was refused"},
		{"completion", "__complete kubectl creat", 0, "create\t"},
		{"completion of ours", "__complete stat", 0, "status\t"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0], strings.Fields(row.args)...)
			c.Env = append(os.Environ(), envMain+"=1", "KUBECONFIG="+filepath.Join(t.TempDir(), "none"), "HOME="+t.TempDir())
			out, err := c.CombinedOutput()
			code := 0
			if exit := new(exec.ExitError); errors.As(err, &exit) {
				code = exit.ExitCode()
			}
			if code != row.code || !strings.Contains(string(out), row.want) {
				t.Errorf("exit %d, want %d\n%s\nwant %s", code, row.code, out, row.want)
			}
		})
	}
}

func TestStatusText(t *testing.T) {
	var out bytes.Buffer
	s := lab.Status{Settings: lab.Settings{Name: "duet"}, State: lab.Running, DataDir: "/d", PID: 7, Started: time.Now(), Health: "ok", URL: "https://127.0.0.1:5"}
	s.Workers = []lab.NodeStatus{{Name: "worker0", State: lab.Running, NodeInfo: lab.NodeInfo{Health: "Ready", Version: "v1.37.2"}, Size: 1 << 20}, {Name: "worker1", State: lab.Stopped}}
	s.Sizes = map[string]int64{"total": 3 << 20, "etcd": 2 << 20}
	printStatus(&out, s, "ok")
	want := []string{
		"cluster    duet", "state      running for 0s, pid 7", "health     ok", "claims     ok", "API        https://127.0.0.1:5, context duet-duet",
		"worker0    Ready, v1.37.2, 1.0 MiB", "worker1    stopped; `duet up` starts it, 0.0 MiB",
		"Services   ", "Pods       ", "uplink     false", "data       /d, 3.0 MiB (etcd 2.0 MiB)", "",
	}
	if got := strings.Split(out.String(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
