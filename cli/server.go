package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/assemble"
	"github.com/duetk8s/duet/lab"
)

// noFD is the value of a descriptor flag that was not given.
const noFD = -1

// serverFlags as typed; the descriptors come from `duet up`.
type serverFlags struct {
	name                      string
	dataDir                   string
	serviceCIDR, podCIDR      string
	nodePorts                 string
	listen, advertise, sans   []string
	etcd                      []string
	etcdCA, etcdCert, etcdKey string
	externalIPs               bool
	loadBalancerPool          []string
	resolvConf                string
	verbosity                 int
	listenFD, readyFD, lockFD int
	resolvFD                  int // the network namespace that the name servers are reached from
}

func (p Program) serverCommand() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "server", Short: "The control plane alone, in the foreground", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.server(c.Context(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.name, "name", "duet", "name of the cluster, for its kubeconfig")
	flags.StringVar(&f.dataDir, "data-dir", filepath.Join(lab.DefaultDataDir("server")), "where all its state is")
	flags.StringVar(&f.serviceCIDR, "service-cidr", defaultServiceCIDR, "ranges of Service addresses, the default family first; one is single-stack")
	flags.StringVar(&f.podCIDR, "pod-cidr", defaultPodCIDR, "ranges of Pod addresses, split into /24 and /64 per node")
	flags.StringVar(&f.nodePorts, "service-node-port-range", "30000-32767", "ports for Services of type NodePort and LoadBalancer")
	flags.StringSliceVar(&f.listen, "listen", []string{"[::]:6443"}, "addresses and ports to serve the API on")
	flags.StringSliceVar(&f.advertise, "advertise", nil, "addresses that clients in the cluster reach this server at, one of each family (default those of this machine)")
	flags.StringSliceVar(&f.sans, "tls-san", nil, "further names and addresses for the serving certificate")
	flags.StringSliceVar(&f.etcd, "etcd-servers", nil, "URLs of an existing etcd cluster, instead of the embedded one")
	flags.StringVar(&f.etcdCA, "etcd-cafile", "", "CA of that etcd cluster")
	flags.StringVar(&f.etcdCert, "etcd-certfile", "", "client certificate for it")
	flags.StringVar(&f.etcdKey, "etcd-keyfile", "", "key of that certificate")
	flags.BoolVar(&f.externalIPs, "allow-external-ips", false, "let Services claim spec.externalIPs; whoever may create a Service can then take over traffic to any address")
	flags.StringSliceVar(&f.loadBalancerPool, "load-balancer-pool", nil, "prefixes of the nodes' network to take the addresses of Services of type LoadBalancer from; none leaves them pending")
	flags.StringVar(&f.resolvConf, "resolv-conf", "/etc/resolv.conf", "file with the name servers for names outside the cluster; none without (\"\")")
	flags.IntVarP(&f.verbosity, "v", "v", 0, "how much to log")
	for name, fd := range map[string]*int{"listen-fd": &f.listenFD, "ready-fd": &f.readyFD, "lock-fd": &f.lockFD, "resolv-netns-fd": &f.resolvFD} {
		flags.IntVar(fd, name, noFD, "inherited descriptor")
		_ = flags.MarkHidden(name)
	}
	return c
}

// server runs the control plane until the context ends.
func (p Program) server(ctx context.Context, f serverFlags) (err error) {
	report := newReport(f.readyFD)
	defer func() { report.close(err) }()
	config, err := f.config()
	if err != nil {
		return err
	}
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(p.Stderr, &slog.HandlerOptions{Level: slog.Level(-f.verbosity)})))
	lock, err := f.lock(config.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if config.Listeners, err = f.listeners(); err != nil {
		return err
	}
	config.Ready = func() { report.ready() }
	err = assemble.Server(ctx, config)
	if stopped := ctx.Err() != nil && errors.Is(err, context.Canceled); err != nil && !stopped {
		return fmt.Errorf("run the control plane in %s: %w", config.DataDir, err)
	}
	return nil
}

// config checks the flags; nothing has been opened yet.
func (f serverFlags) config() (assemble.ServerConfig, error) {
	c := assemble.ServerConfig{Name: f.name}
	if err := (&cluster{name: f.name}).check(); err != nil {
		return c, err
	}
	var err error
	if c.DataDir, err = filepath.Abs(f.dataDir); err != nil {
		return c, err
	}
	if c.ServiceCIDRs, err = parseRanges("service-cidr", f.serviceCIDR); err != nil {
		return c, err
	}
	if c.PodCIDRs, err = parsePodRanges(f.podCIDR); err != nil {
		return c, err
	}
	if c.Advertise, err = parseAddresses("advertise", f.advertise); err != nil {
		return c, err
	}
	if len(c.Advertise) == 0 {
		if c.Advertise, err = ownAddresses(); err != nil {
			return c, err
		}
	}
	if err := checkPortRange(f.nodePorts); err != nil {
		return c, err
	}
	for _, text := range f.loadBalancerPool {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() {
			return c, &lab.FlagError{Flag: "--load-balancer-pool", Value: text, Problem: "not a prefix", Want: "want e.g. 192.0.2.192/27,2001:db8::f000/116"}
		}
		c.LoadBalancerPool = append(c.LoadBalancerPool, p.Masked())
	}
	for _, u := range f.etcd {
		if !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://127.0.0.1:") && !strings.HasPrefix(u, "http://[::1]:") {
			return c, &lab.FlagError{Flag: "--etcd-servers", Value: u, Problem: "not a URL with TLS", Want: "want e.g. https://192.0.2.10:2379"}
		}
	}
	if (f.etcdCert == "") != (f.etcdKey == "") {
		return c, usageError{errors.New("--etcd-certfile and --etcd-keyfile belong together; give both or neither")}
	}
	c.ResolvConf = f.resolvConf
	if f.resolvFD != noFD {
		c.ResolvNetns = fmt.Sprintf("/proc/self/fd/%d", f.resolvFD)
	}
	c.NodePorts, c.SANs, c.AllowExternalIPs = f.nodePorts, f.sans, f.externalIPs
	c.EtcdServers, c.EtcdCAFile, c.EtcdCertFile, c.EtcdKeyFile = f.etcd, f.etcdCA, f.etcdCert, f.etcdKey
	return c, nil
}

func checkPortRange(value string) error {
	var from, to int
	n, err := fmt.Sscanf(value, "%d-%d", &from, &to)
	if err != nil || n != 2 || fmt.Sprintf("%d-%d", from, to) != value || from < 1 || to > 65535 || from > to {
		return &lab.FlagError{Flag: "--service-node-port-range", Value: value, Problem: "not a range of ports", Want: "want e.g. 30000-32767"}
	}
	return nil
}

// lock takes the data directory, or takes it over from the process that started us.
func (f serverFlags) lock(dir string) (*lab.Lock, error) {
	if f.lockFD != noFD {
		return lab.AdoptLock(uintptr(f.lockFD))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	return lab.LockData(dir)
}
