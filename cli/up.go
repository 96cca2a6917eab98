package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/lab"
	"github.com/duetk8s/duet/pki"
)

// cluster is the pair of flags that says which cluster is meant.
type cluster struct{ name, dataDir string }

func (c *cluster) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.name, "name", "duet", "name of the cluster; several live side by side")
	cmd.Flags().StringVar(&c.dataDir, "data-dir", "", "where all its state is (default "+lab.DefaultDataDir("NAME")+")")
}

func (c *cluster) check() error {
	if err := lab.CheckName(c.name); err != nil {
		return &lab.FlagError{Flag: "--name", Value: c.name, Problem: "not a name for a cluster", Want: err.Error()}
	}
	return nil
}

// kubeconfig is the administrator's of a cluster that is there: of a lab, or, without --data-dir, of
// the `duet server` of that name which has its data where it has it unless told otherwise.
func (c *cluster) kubeconfig() (string, error) {
	dir, err := lab.Find(c.name, c.dataDir)
	if c.dataDir == "" && errors.As(err, new(*lab.NoClusterError)) {
		file := lab.AdminKubeconfig(lab.DefaultDataDir("server"))
		if config, err := clientcmd.LoadFromFile(file); err == nil && config.CurrentContext == pki.ContextName(c.name) {
			return file, nil
		}
	}
	return lab.AdminKubeconfig(dir), err
}

// upFlags as typed.
type upFlags struct {
	cluster
	nodes                            int
	serviceCIDR, podCIDR, kubeconfig string
	uplink, externalIPs              bool
	port                             uint16
}

func (p Program) upCommand() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use: "up", Short: "Create or resume a cluster on this machine and wait until it is ready", Args: cobra.NoArgs,
		Long: `Create or resume a cluster on this machine and wait until it is ready.

A cluster that was up before comes back with its data and its settings; flags change them.`,
		RunE: func(c *cobra.Command, _ []string) error { return p.up(c, f) },
	}
	f.addFlags(c)
	return c
}

func (f *upFlags) addFlags(c *cobra.Command) {
	f.cluster.addFlags(c)
	c.Flags().IntVar(&f.nodes, "nodes", 2, "worker nodes; 0 is the control plane only")
	c.Flags().StringVar(&f.serviceCIDR, "service-cidr", defaultServiceCIDR, "ranges of Service addresses, the default family first; one is single-stack")
	c.Flags().StringVar(&f.podCIDR, "pod-cidr", defaultPodCIDR, "ranges of Pod addresses, split into /24 and /64 per node")
	c.Flags().BoolVar(&f.uplink, "uplink", true, "give the cluster a way out; without, nothing leaves it")
	c.Flags().BoolVar(&f.externalIPs, "allow-external-ips", false, "let Services claim spec.externalIPs; whoever may create a Service can then take over traffic to any address")
	c.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "the file to add context duet-NAME to (default $KUBECONFIG, or ~/.kube/config)")
	c.Flags().Uint16Var(&f.port, "port", 0, "port of the API on 127.0.0.1; 0 is any free one, kept from then on")
}

// request turns the flags that were given into what is asked for, and all of them, defaults
// included, into what a new cluster gets.
func (p Program) request(c *cobra.Command, f upFlags) (r lab.Request, fresh lab.Settings, err error) {
	if err := f.check(); err != nil {
		return r, fresh, err
	}
	if f.nodes < 0 {
		return r, fresh, &lab.FlagError{Flag: "--nodes", Value: fmt.Sprint(f.nodes), Problem: "less than none", Want: "want 0 or more"}
	}
	fresh = lab.Settings{Name: f.name, Nodes: f.nodes, Uplink: f.uplink, ExternalIPs: f.externalIPs, Port: f.port}
	if fresh.ServiceCIDRs, err = parseRanges("service-cidr", f.serviceCIDR); err != nil {
		return r, fresh, err
	}
	if fresh.PodCIDRs, err = parsePodRanges(f.podCIDR); err != nil {
		return r, fresh, err
	}
	if fresh.Kubeconfig, err = p.kubeconfig(f.kubeconfig); err != nil {
		return r, fresh, err
	}
	r = lab.Request{Name: f.name, DataDir: f.dataDir}
	given := c.Flags().Changed
	if given("nodes") {
		r.Nodes = &fresh.Nodes
	}
	if given("service-cidr") {
		r.ServiceCIDRs = fresh.ServiceCIDRs
	}
	if given("pod-cidr") {
		r.PodCIDRs = fresh.PodCIDRs
	}
	if given("uplink") {
		r.Uplink = &fresh.Uplink
	}
	if given("allow-external-ips") {
		r.ExternalIPs = &fresh.ExternalIPs
	}
	if given("kubeconfig") {
		r.Kubeconfig = fresh.Kubeconfig
	}
	if given("port") {
		r.Port = &fresh.Port
	}
	return r, fresh, nil
}

// kubeconfig returns the file that gets the context, as an absolute path: the one given, the first
// of $KUBECONFIG, or kubectl's default.
func (p Program) kubeconfig(given string) (string, error) {
	if given == "" {
		for _, f := range filepath.SplitList(p.Getenv("KUBECONFIG")) {
			if f != "" {
				given = f
				break
			}
		}
	}
	if given != "" {
		return filepath.Abs(given)
	}
	home := p.Getenv("HOME")
	if home == "" {
		return "", errors.New("find the kubeconfig: HOME is not set; say which file with --kubeconfig")
	}
	return filepath.Join(home, ".kube", "config"), nil
}

func (p Program) up(c *cobra.Command, f upFlags) error {
	begin := time.Now()
	request, fresh, err := p.request(c, f)
	if err != nil {
		return err
	}
	l, err := p.lab()
	if err != nil {
		return err
	}
	result, err := l.Up(c.Context(), request, fresh)
	if err != nil {
		return err
	}
	if p.terminal() {
		did := fmt.Sprintf("is ready after %.2f s", time.Since(begin).Seconds())
		if result.Already {
			did = "is up already"
		}
		fmt.Fprintf(p.Stderr, "Cluster %q %s. Its context is %s in %s; try: duet kubectl get services\n",
			f.name, did, pki.ContextName(f.name), result.Settings.Kubeconfig)
	}
	return nil
}

// lab is what up and down work with: this program as the server's.
func (p Program) lab() (*lab.Lab, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program to start the server from: %w", err)
	}
	return &lab.Lab{Program: []string{self}, Kubeconfigs: kubeconfigs{}, Cluster: clusterAPI{}, Progress: p.progress()}, nil
}
