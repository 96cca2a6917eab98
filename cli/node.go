package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/component-helpers/node/util"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/assemble"
	"github.com/duetk8s/duet/lab"
)

// Where distributions and upstream put the CNI plugins.
var cniBinDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// nodeFlags as typed.
type nodeFlags struct {
	name                       string
	server, caFile, caHash     string
	token, tokenFile           string
	rootDir, criSocket         string
	nodeIP                     string
	clusterDNS                 []string
	clusterDomain              string
	cgroupParent               string
	cniConfDir                 string
	cniBinDirs, labels, taints []string
	port                       uint16
	maxPods, verbosity         int
}

func (p Program) nodeCommand() *cobra.Command {
	var f nodeFlags
	c := &cobra.Command{
		Use: "node", Short: "The node agent alone, in the foreground", Args: cobra.NoArgs,
		Long: `The node agent alone, in the foreground.

It joins this machine to a cluster and runs Pods with the container runtime that the
machine has (CRI v1, e.g. containerd). Pods live on when it ends.`,
		RunE: func(c *cobra.Command, _ []string) error { return p.node(c.Context(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.name, "name", "", "name of the node (default the host name)")
	flags.StringVar(&f.server, "server", "", "URL of the API server, e.g. https://192.0.2.10:6443")
	flags.StringVar(&f.caFile, "ca-file", "", "CA of the cluster, pki/ca.crt in the server's data directory (default pki/ca.crt below --root-dir)")
	flags.StringVar(&f.caHash, "ca-hash", "", "what that CA is recognised by, sha256:…, where the file is not there yet; see duet token create")
	flags.StringVar(&f.token, "token", "", "bootstrap token to join with, id.secret")
	flags.StringVar(&f.tokenFile, "token-file", "", "file that holds the token, so that it is in no list of processes")
	flags.StringVar(&f.rootDir, "root-dir", lab.DefaultDataDir("node"), "where all state of the node is")
	flags.StringVar(&f.criSocket, "cri-socket", "/run/containerd/containerd.sock", "socket of the container runtime")
	flags.StringVar(&f.nodeIP, "node-ip", "", "address of the node, or one of each family, the primary first (default those of this machine)")
	flags.StringSliceVar(&f.clusterDNS, "cluster-dns", nil, "addresses of the cluster's DNS, for Pods")
	flags.StringVar(&f.clusterDomain, "cluster-domain", "cluster.local", "domain of the cluster")
	flags.StringVar(&f.cgroupParent, "cgroup-parent", "/duet/node", "cgroup that Pods are below")
	flags.StringVar(&f.cniConfDir, "cni-conf-dir", "/etc/cni/net.d", "where the container runtime looks for networks; one that is there already is used")
	flags.StringSliceVar(&f.cniBinDirs, "cni-bin-dir", cniBinDirs, "where CNI plugins are")
	flags.Uint16Var(&f.port, "port", 10250, "port of the node's own API")
	flags.IntVar(&f.maxPods, "max-pods", 110, "Pods that the node takes")
	flags.StringSliceVar(&f.labels, "label", nil, "labels to register with, KEY=VALUE")
	flags.StringSliceVar(&f.taints, "taint", nil, "taints to register with, KEY=VALUE:EFFECT")
	flags.IntVarP(&f.verbosity, "v", "v", 0, "how much to log")
	return c
}

// node runs the agent until the context ends.
func (p Program) node(ctx context.Context, f nodeFlags) error {
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(p.Stderr, &slog.HandlerOptions{Level: slog.Level(-f.verbosity)})))
	config, err := f.config()
	if err != nil {
		return err
	}
	if err := preflightNode(ctx, config); err != nil {
		return err
	}
	err = assemble.Node(ctx, config)
	if stopped := ctx.Err() != nil && errors.Is(err, context.Canceled); err != nil && !stopped {
		return fmt.Errorf("run node %s: %w", config.Name, err)
	}
	return nil
}

var (
	tokenShape = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)
	hashShape  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	taintShape = regexp.MustCompile(`^[^=:]+(=[^=:]*)?:(NoSchedule|PreferNoSchedule|NoExecute)$`)
)

// config checks the flags; nothing has been opened but the file of the token.
func (f nodeFlags) config() (assemble.NodeConfig, error) {
	c := assemble.NodeConfig{
		Name: f.name, Server: f.server, CAFile: f.caFile, CAHash: f.caHash, ClusterDomain: f.clusterDomain, CgroupParent: f.cgroupParent,
		CNIConfDir: f.cniConfDir, CNIBinDirs: f.cniBinDirs, Port: int(f.port), MaxPods: f.maxPods, Taints: f.taints,
		CRISocket: strings.TrimPrefix(f.criSocket, "unix://"),
	}
	var err error
	if u, parsed := url.Parse(f.server); parsed != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return c, &lab.FlagError{Flag: "--server", Value: f.server, Problem: "not the URL of an API server", Want: "want e.g. https://192.0.2.10:6443"}
	}
	if c.RootDir, err = filepath.Abs(f.rootDir); err != nil {
		return c, err
	}
	if c.CAHash != "" && !hashShape.MatchString(c.CAHash) {
		return c, &lab.FlagError{Flag: "--ca-hash", Value: c.CAHash, Problem: "not the hash of a CA", Want: "want sha256: and 64 hexadecimal digits"}
	}
	if c.CAFile == "" {
		c.CAFile = filepath.Join(c.RootDir, "pki", "ca.crt")
	}
	if c.Name == "" {
		if c.Name, err = hostName(); err != nil {
			return c, err
		}
	}
	if c.Token, err = f.bootstrapToken(); err != nil {
		return c, err
	}
	if c.NodeIPs, err = parseNodeIP(f.nodeIP); err != nil {
		return c, err
	}
	if c.ClusterDNS, err = parseAddresses("cluster-dns", f.clusterDNS); err != nil {
		return c, err
	}
	if !filepath.IsAbs(c.CgroupParent) {
		return c, &lab.FlagError{Flag: "--cgroup-parent", Value: f.cgroupParent, Problem: "not an absolute path", Want: "want e.g. /duet/node"}
	}
	if f.maxPods < 1 {
		return c, &lab.FlagError{Flag: "--max-pods", Value: strconv.Itoa(f.maxPods), Problem: "less than one", Want: "want e.g. 110"}
	}
	if c.Labels, err = parseLabels(f.labels); err != nil {
		return c, err
	}
	for _, t := range f.taints {
		if !taintShape.MatchString(t) {
			return c, &lab.FlagError{Flag: "--taint", Value: t, Problem: "not a taint", Want: "want e.g. dedicated=edge:NoSchedule"}
		}
	}
	return c, nil
}

// parseNodeIP reads --node-ip as a kubelet does: behaviour.md D2.1. What is no address is left out.
func parseNodeIP(value string) ([]netip.Addr, error) {
	list, invalid, err := util.ParseNodeIPArgument(value, "")
	if len(invalid) > 0 {
		klog.Background().Info("Values of --node-ip that are no addresses are ignored", "values", invalid)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("bad --node-ip %q: %w", value, err)}
	}
	var out []netip.Addr
	for _, ip := range list {
		a, _ := netip.AddrFromSlice(ip)
		out = append(out, a.Unmap())
	}
	return out, nil
}

// bootstrapToken is the token that was given, in whatever way; "" if none was.
func (f nodeFlags) bootstrapToken() (string, error) {
	token := f.token
	if f.tokenFile != "" {
		if f.token != "" {
			return "", usageError{errors.New("--token and --token-file are two ways to say the same; give one")}
		}
		data, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		token = strings.TrimSpace(string(data))
	}
	if token != "" && !tokenShape.MatchString(token) {
		problem := &lab.FlagError{Flag: "--token", Value: "…", Problem: "not a bootstrap token", Want: "want 6 characters, a dot and 16 characters, lower-case letters and digits"}
		if f.tokenFile != "" {
			problem.Flag, problem.Value = "--token-file", f.tokenFile
		}
		return "", problem
	}
	return token, nil
}

func parseLabels(list []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, l := range list {
		key, value, ok := strings.Cut(l, "=")
		if !ok || key == "" {
			return nil, &lab.FlagError{Flag: "--label", Value: l, Problem: "not a label", Want: "want e.g. topology.kubernetes.io/zone=a"}
		}
		labels[key] = value
	}
	return labels, nil
}

// hostName is the machine's name as a node may be called.
func hostName() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the host name: %w; say the node's with --name", err)
	}
	return strings.ToLower(name), nil
}

// preflightNode looks for what a node needs of its machine, and says what to do about it.
func preflightNode(ctx context.Context, c assemble.NodeConfig) error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("node needs root to run containers, and this is uid %d; run it with sudo", uid)
	}
	if _, err := os.Stat(c.CAFile); err != nil && c.CAHash == "" {
		return fmt.Errorf("find the CA of the cluster: %w; say what it is recognised by with --ca-hash, as `duet token create` on the server prints it, or name the file with --ca-file", err)
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "unix", c.CRISocket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("connect to the container runtime: there is no socket %s; apt-get install containerd runc containernetworking-plugins, or name another runtime's with --cri-socket", c.CRISocket)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("connect to the container runtime: nobody listens on %s; systemctl start containerd, or name another runtime's with --cri-socket", c.CRISocket)
	case err != nil:
		return fmt.Errorf("connect to the container runtime: %w; see --cri-socket", err)
	}
	return conn.Close()
}
