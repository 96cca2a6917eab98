package nodes

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/duetk8s/duet/test/cluster"
)

// Where a machine has its parts unless told otherwise.
const (
	serverKubeconfig = "/var/lib/duet/server/kubeconfig"
	nodePKI          = "var/lib/duet/node/pki"
)

// TestJoin is the way of somebody with two machines: a server on one, a node on the other, each with
// nothing but what a distribution has.
func TestJoin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	command := s.invite(t)
	if command[3] != "https://192.0.2.1:6443" {
		t.Errorf("to be joined at %s", command[3])
	}
	s.edge.start(t, "node", append(slices.Clone(command), "--cgroup-parent", s.edge.cgroup())...)
	s.becomes(t, "Hostname edge, InternalIP 192.0.2.7, InternalIP 2001:db8::7; Ready True; 10.244.0.0/24 fd00:10:244::/64")
	cluster.Eventually(t, "both certificates", func() string {
		out := s.kubectl(t, "get", "csr", "--no-headers")
		if strings.Count(out, "Approved,Issued") != 2 || !strings.Contains(out, "kubernetes.io/kubelet-serving") || !strings.Contains(out, "kubernetes.io/kube-apiserver-client-kubelet") {
			return out
		}
		return ""
	})
	s.walk(t)
	s.serves(t, "192.0.2.7", "2001:db8::7")
	s.kubectl(t, "exec", "walker", "--", "sh", "-c", `d=/var/run/secrets/kubernetes.io/serviceaccount
		wget -nv -O - --ca-certificate=$d/ca.crt --header "Authorization: Bearer $(cat $d/token)" https://kubernetes.default.svc/version`)
	before := s.container(t)

	t.Log("restart: the machine needs no token any more, nor is its Pod touched")
	if err := s.edge.stop(t, "node"); err != nil {
		t.Errorf("the agent was told to stop and says %v", err)
	}
	s.kubectl(t, "delete", "secret", "--namespace=kube-system", "--field-selector=type=bootstrap.kubernetes.io/token")
	s.edge.start(t, "node", "duet", "node", "--server", command[3], "--cgroup-parent", s.edge.cgroup())
	s.serves(t, "192.0.2.7", "2001:db8::7")
	if now := s.container(t); now != before {
		t.Errorf("container %s was %s before the restart", now, before)
	}

	t.Log("another IPv4 address")
	s.edge.address(t, "add", "192.0.2.8/24")
	s.edge.address(t, "del", "192.0.2.7/24")
	s.becomes(t, "Hostname edge, InternalIP 192.0.2.8, InternalIP 2001:db8::7; Ready True; 10.244.0.0/24 fd00:10:244::/64")
	s.serves(t, "192.0.2.8", "2001:db8::7")

	t.Log("an IPv6 address as from a router, with temporary ones beside it")
	s.edge.must(t, "sh", "-c", "echo 2 >/proc/sys/net/ipv6/conf/eth0/use_tempaddr")
	s.edge.address(t, "add", "2001:db8::100/64", "mngtmpaddr", "valid_lft", "40000", "preferred_lft", "30000")
	cluster.Eventually(t, "a temporary address", func() string {
		if out := s.edge.must(t, "ip", "-6", "address", "show", "dev", "eth0", "temporary"); !strings.Contains(out, "2001:db8:") {
			return "none: " + out
		}
		return ""
	})
	s.edge.address(t, "del", "2001:db8::7/64")
	s.becomes(t, "Hostname edge, InternalIP 192.0.2.8, InternalIP 2001:db8::100; Ready True; 10.244.0.0/24 fd00:10:244::/64")
	s.serves(t, "192.0.2.8", "2001:db8::100")

	t.Log("--node-ip says which, and which first")
	if err := s.edge.stop(t, "node"); err != nil {
		t.Error(err)
	}
	out, err := s.edge.run("duet", "node", "--server", command[3], "--node-ip", "192.0.2.99")
	if want := `node IP: "192.0.2.99" not found in the host's network interfaces`; err == nil || !strings.Contains(out, want) {
		t.Errorf("--node-ip 192.0.2.99: %v, %s, want %s", err, out, want)
	}
	s.edge.start(t, "node", "duet", "node", "--server", command[3], "--node-ip", "2001:db8::100,192.0.2.8", "--cgroup-parent", s.edge.cgroup())
	s.becomes(t, "Hostname edge, InternalIP 2001:db8::100, InternalIP 192.0.2.8; Ready True; 10.244.0.0/24 fd00:10:244::/64")
	s.serves(t, "192.0.2.8", "2001:db8::100")
	if now := s.container(t); now != before {
		t.Errorf("container %s was %s at the beginning", now, before)
	}
}

// TestMachineRestarts: what a machine without power leaves is its disk. Its Pods run again, in other
// containers, and none of the addresses that they had is lost.
func TestMachineRestarts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	command := append(s.invite(t), "--cgroup-parent", s.edge.cgroup())
	s.edge.start(t, "node", command...)
	s.walk(t)
	before := s.container(t)
	held := func() int {
		return len(strings.Fields(s.edge.must(t, "sh", "-c", `find /var/lib/duet/node/cni /var/lib/cni -name "*.*.*.*" -o -name "*::*" -o -name "*:*:*"`)))
	}
	had := held()
	if had != 2 {
		t.Errorf("one Pod holds %d addresses", had)
	}
	s.edge.off(t)
	s.edge.on(t)
	plug(t, s.head, s.edge, []string{"192.0.2.1/24", "2001:db8::1/64"}, []string{"192.0.2.7/24", "2001:db8::7/64"})
	s.edge.containerd(t)
	s.edge.start(t, "node", command...)
	cluster.Eventually(t, "the Pod in another container", func() string {
		if now := s.container(t); now == before || strings.HasPrefix(now, " ") {
			return now
		}
		return ""
	})
	s.becomes(t, "Hostname edge, InternalIP 192.0.2.7, InternalIP 2001:db8::7; Ready True; 10.244.0.0/24 fd00:10:244::/64")
	s.serves(t, "192.0.2.7", "2001:db8::7")
	if now := held(); now != had {
		t.Errorf("%d addresses are held, %d were: %s", now, had, s.edge.must(t, "find", "/var/lib/duet/node/cni", "/var/lib/cni", "-type", "f"))
	}
}

// walk runs a Pod.
func (s *site) walk(t *testing.T) {
	t.Helper()
	s.kubectl(t, "run", "walker", "--image=busybox:1.28", "--image-pull-policy=Never", "--", "sh", "-c", "echo here; exec sleep 100000")
	s.kubectl(t, "wait", "--for=condition=Ready", "pod/walker", "--timeout=60s")
}

// TestJoinFamilies: the cluster's ranges decide which family comes first, of the server's address and
// of the node's.
func TestJoinFamilies(t *testing.T) {
	t.Parallel()
	const v4, v6 = "192.0.2.1/24 192.0.2.7/24", "2001:db8::1/64 2001:db8::7/64"
	for _, tt := range []struct{ name, addresses, services, pods, server, node string }{
		{"v4", v4, "10.96.0.0/16", "10.244.0.0/16", "https://192.0.2.1:6443", "InternalIP 192.0.2.7; Ready True; 10.244.0.0/24"},
		{"v6", v6, "fd00:10:96::/112", "fd00:10:244::/56", "https://[2001:db8::1]:6443", "InternalIP 2001:db8::7; Ready True; fd00:10:244::/64"},
		{
			"v6 and v4", v4 + " " + v6, "fd00:10:96::/112,10.96.0.0/16", "fd00:10:244::/56,10.244.0.0/16", "https://[2001:db8::1]:6443",
			"InternalIP 2001:db8::7, InternalIP 192.0.2.7; Ready True; fd00:10:244::/64 10.244.0.0/24",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &site{newMachine(t, "head"), newMachine(t, "edge")}
			var ends [2][]string
			for i, a := range strings.Fields(tt.addresses) {
				ends[i%2] = append(ends[i%2], a)
			}
			plug(t, s.head, s.edge, ends[0], ends[1])
			s.start(t, "--service-cidr", tt.services, "--pod-cidr", tt.pods)
			command := s.invite(t)
			if command[3] != tt.server {
				t.Errorf("to be joined at %s, want %s", command[3], tt.server)
			}
			s.edge.start(t, "node", append(command, "--cgroup-parent", s.edge.cgroup())...)
			s.becomes(t, "Hostname edge, "+tt.node)
		})
	}
}

// TestJoinRefused: a machine that may not join says why, in one line, and gives up.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	command := s.invite(t)
	with := func(flag, value string) []string {
		c := slices.Clone(command)
		c[slices.Index(c, flag)+1] = value
		return c
	}
	token := command[slices.Index(command, "--token")+1]
	id, _, _ := strings.Cut(token, ".")
	for _, tt := range []struct {
		name    string
		command []string
		code    int
		want    string
	}{
		{"garbage", with("--token", "let me in"), 2, `--token "…": not a bootstrap token; want 6 characters, a dot and 16 characters`},
		{"a wrong secret", with("--token", id+".0123456789abcdef"), 1, `does not accept the bootstrap token "` + id + `"`},
		{"another cluster's", with("--token", "abcdef.0123456789abcdef"), 1, "make one with `duet token create`"},
		{"another cluster's CA", with("--ca-hash", "sha256:"+strings.Repeat("0", 64)), 1, "the server does not belong to the cluster with the CA sha256:000"},
		{"not a hash", with("--ca-hash", "sha256:0"), 2, `--ca-hash "sha256:0": not the hash of a CA`},
		{"no token", []string{"duet", "node", "--server", command[3], "--ca-hash", command[7]}, 1, "and no bootstrap token to ask for one; make one on the server with `duet token create`"},
		{"no CA", []string{"duet", "node", "--server", command[3], "--token", token}, 1, "say what it is recognised by with --ca-hash"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.edge.refuses(t, tt.code, tt.want, append(tt.command, "--root-dir", "/var/lib/duet/"+strings.ReplaceAll(tt.name, " ", "-")))
		})
	}
	t.Run("expired", func(t *testing.T) {
		s.kubectl(t, "patch", "secret", "--namespace=kube-system", "bootstrap-token-"+id, `--patch={"stringData": {"expiration": "2026-01-01T00:00:00Z"}}`)
		s.edge.refuses(t, 1, `does not accept the bootstrap token "`+id+`" (expired`, append(slices.Clone(command), "--root-dir", "/var/lib/duet/expired"))
		cluster.Eventually(t, "the end of the token", func() string {
			return s.kubectl(t, "get", "secret", "--namespace=kube-system", "bootstrap-token-"+id, "--ignore-not-found", "-o=name")
		})
	})
	if out := s.kubectl(t, "get", "nodes,csr", "-o=name"); out != "" {
		t.Errorf("in the API there is\n%s", out)
	}
}

// refuses runs a command that must end with an exit code and one line.
func (m *machine) refuses(t *testing.T, code int, want string, command []string) {
	t.Helper()
	out, err := m.run(command...)
	exit := new(exec.ExitError)
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("%v, want exit code %d", err, code)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "duet: ") || !strings.Contains(last, want) {
		t.Errorf("said\n%s\nwant %s", out, want)
	}
}

// site is two machines with a cable between them, and a server on the first.
type site struct{ head, edge *machine }

func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	s := &site{newMachine(t, "head"), newMachine(t, "edge")}
	plug(t, s.head, s.edge, []string{"192.0.2.1/24", "2001:db8::1/64"}, []string{"192.0.2.7/24", "2001:db8::7/64"})
	s.start(t, flags...)
	return s
}

// start starts the server and the other machine's containerd.
func (s *site) start(t *testing.T, flags ...string) {
	t.Helper()
	s.head.start(t, "server", append([]string{"duet", "server"}, flags...)...)
	s.edge.containerd(t)
	s.edge.load(t, "../../build/images/busybox-1.28.tar")
	cluster.Eventually(t, "the server", func() string {
		out, err := s.head.run("duet", "kubectl", "--kubeconfig", serverKubeconfig, "get", "--raw", "/readyz")
		if err != nil {
			return out
		}
		return ""
	})
}

// invite returns the command to be typed on the machine that joins.
func (s *site) invite(t *testing.T) []string {
	t.Helper()
	command := strings.Fields(s.head.must(t, "duet", "token", "create"))
	if len(command) != 10 || strings.Join(command[:3], " ") != "duet node --server" {
		t.Fatalf("`duet token create` prints %q", command)
	}
	return command
}

func (s *site) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return s.head.must(t, append([]string{"duet", "kubectl", "--kubeconfig", serverKubeconfig}, args...)...)
}

// becomes waits until the Node says that.
func (s *site) becomes(t *testing.T, want string) {
	t.Helper()
	const form = `{range .items[0].status.addresses[*]}, {.type} {.address}{end}; {range .items[0].status.conditions[?(@.type=="Ready")]}{.type} {.status}{end};{range .items[0].spec.podCIDRs[*]} {@}{end}`
	cluster.Eventually(t, want, func() string {
		out, _ := s.head.run("duet", "kubectl", "--kubeconfig", serverKubeconfig, "get", "nodes", "-o=jsonpath="+form)
		if got := strings.TrimPrefix(out, ", "); got != want {
			return got
		}
		return ""
	})
}

// serves checks that the node's own API is for these addresses, and that the server gets through to
// it: exec and logs go that way.
func (s *site) serves(t *testing.T, addrs ...string) {
	t.Helper()
	cluster.Eventually(t, "a serving certificate", func() string {
		file := filepath.Join(s.edge.dir, nodePKI, "kubelet-server-current.pem")
		pair, err := tls.LoadX509KeyPair(file, file)
		if err != nil {
			return err.Error()
		}
		if got := fmt.Sprint(pair.Leaf.IPAddresses, pair.Leaf.DNSNames); got != fmt.Sprint(addrs, []string{"edge"}) {
			return got
		}
		return ""
	})
	cluster.Eventually(t, "exec", func() string {
		out, err := s.head.run("duet", "kubectl", "--kubeconfig", serverKubeconfig, "exec", "walker", "--", "hostname")
		if err != nil || out != "walker\n" {
			return fmt.Sprint(err, out)
		}
		return ""
	})
	if out := s.kubectl(t, "logs", "walker"); out != "here\n" {
		t.Errorf("log: %q", out)
	}
}

// container of the Pod, and how often it was restarted.
func (s *site) container(t *testing.T) string {
	t.Helper()
	return s.kubectl(t, "get", "pod", "walker", "-o=jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}")
}
