// Package assemble puts the components of a control plane together: certificates, etcd, API server
// and controllers, in the order in which they start. It is the only place where they meet; they
// know each other only through the API.
package assemble

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/duetk8s/duet/apiserver"
	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/etcd"
	"github.com/duetk8s/duet/pki"
	"github.com/duetk8s/duet/registry"
)

// ServerConfig says what a control plane is to be. It comes from flags that have been checked.
type ServerConfig struct {
	// Name of the cluster, for its kubeconfig context.
	Name string
	// DataDir is where all state is: certificates, etcd, kubeconfig.
	DataDir string
	// ServiceCIDRs and PodCIDRs in flag order: one range, or one of each family.
	ServiceCIDRs, PodCIDRs []netip.Prefix
	// NodePorts is a range such as "30000-32767".
	NodePorts string
	// Listeners are the sockets the API is served on; the kubeconfig names the first.
	Listeners []net.Listener
	// Advertise is the address of this server in each family, for clients in the cluster.
	Advertise []netip.Addr
	// SANs are further names and addresses of the serving certificate.
	SANs []string
	// EtcdServers of an existing cluster instead of the embedded etcd, and its certificates.
	EtcdServers                           []string
	EtcdCAFile, EtcdCertFile, EtcdKeyFile string
	// AllowExternalIPs lets Services have spec.externalIPs.
	AllowExternalIPs bool
	// LoadBalancerPool has addresses for Services of type LoadBalancer, before those of the ConfigMap
	// kube-system/load-balancer-pools. Without any, load balancers are somebody else's.
	LoadBalancerPool []netip.Prefix
	// ResolvConf is a file with the name servers for names outside the cluster, "" for none, and
	// ResolvNetns the network namespace that they are reached from, "" for this process's.
	ResolvConf, ResolvNetns string
	// Ready is called once, when /readyz says ok.
	Ready func()
}

// Server runs the control plane until ctx ends, and returns when all of it has stopped.
func Server(ctx context.Context, cfg ServerConfig) error {
	tune(serverGarbage)
	if err := setFeatures(); err != nil {
		return err
	}
	certificates, err := cfg.certificates()
	if err != nil {
		return err
	}
	// Before etcd, which writes as it starts: a damaged key changes nothing.
	secrets, err := pki.SecretsTransformer(filepath.Join(cfg.DataDir, "secrets.key"))
	if err != nil {
		return err
	}
	images, err := registry.Open(filepath.Join(cfg.DataDir, "registry"))
	if err != nil {
		return err
	}
	defer images.Close()
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.close()
	api, err := newAPI(ctx, cfg, certificates, secrets, images, store.client)
	if err != nil {
		return err
	}
	controllers, err := newControllers(api, cfg, certificates)
	if err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return certificates.Run(ctx) })
	group.Go(func() error { return store.watch(ctx) })
	group.Go(func() error { return stopped(ctx, api.Run(ctx)) })
	group.Go(func() error {
		select {
		case <-api.Ready():
			cfg.Ready()
			group.Go(func() error { settle(ctx, serverGarbage); return nil })
			return controllers.run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-store.failed(): // its requests are never answered: waiting for those who sent them has no end
		return store.member.Failure()
	}
}

// newAPI makes the API server on what has been opened.
func newAPI(ctx context.Context, cfg ServerConfig, certificates *pki.Bundle, secrets value.Transformer, images *registry.Store, client *kubernetes.Client) (*apiserver.Server, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("cluster-ca", certificates.CA())
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	nodePorts, err := clusterip.ParsePortRange(cfg.NodePorts)
	if err != nil {
		return nil, err
	}
	return apiserver.New(ctx, apiserver.Config{
		Etcd: client, SharedEtcd: cfg.shared(),
		Families: dualstack.Order(cfg.ServiceCIDRs), NodePorts: nodePorts,
		Listeners: cfg.Listeners, Serving: certificates.Serving(), ClientCA: ca,
		Advertise: cfg.Listeners[0].Addr().String(),
		TokenKey:  certificates.ServiceAccountKey(),
		Secrets:   secrets, AllowExternalIPs: cfg.AllowExternalIPs, Images: images, NodeCA: certificates.Nodes().Certificate(), NodeClient: certificates.NodeClient,
	})
}

// stopped turns an end that nobody asked for into an error, so that everything else ends too.
func stopped(ctx context.Context, err error) error {
	if err == nil && ctx.Err() == nil {
		return errors.New("the API server stopped by itself")
	}
	return err
}

func (cfg ServerConfig) shared() bool { return len(cfg.EtcdServers) > 0 }

// port on which clients in the cluster reach the server: that of the last listener, which is in the
// server's own namespace.
func (cfg ServerConfig) port() int32 {
	last := cfg.Listeners[len(cfg.Listeners)-1].Addr().(*net.TCPAddr)
	return int32(last.Port)
}

// certificates makes or renews them, and writes the administrator's kubeconfig.
func (cfg ServerConfig) certificates() (*pki.Bundle, error) {
	sans := append([]string{}, cfg.SANs...)
	for _, addr := range cfg.Advertise {
		sans = append(sans, addr.String())
	}
	for _, r := range cfg.ServiceCIDRs {
		sans = append(sans, r.Masked().Addr().Next().String())
	}
	return pki.Ensure(filepath.Join(cfg.DataDir, "pki"), pki.Config{
		SANs: sans,
		Kubeconfig: &pki.KubeconfigFile{
			Path: filepath.Join(cfg.DataDir, "kubeconfig"), Cluster: cfg.Name, Server: "https://" + reachable(cfg.Listeners[0].Addr()),
		},
	})
}

// reachable is a listener's address as a client on this machine would dial it.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}

// store is the etcd that was asked for.
type store struct {
	client *kubernetes.Client
	member *etcd.Member // nil for an existing cluster
}

func openStore(ctx context.Context, cfg ServerConfig) (*store, error) {
	if cfg.shared() {
		client, err := etcd.Dial(ctx, etcd.DialConfig{
			Endpoints: cfg.EtcdServers, CAFile: cfg.EtcdCAFile, CertFile: cfg.EtcdCertFile, KeyFile: cfg.EtcdKeyFile,
		})
		return &store{client: client}, err
	}
	member, err := etcd.Start(ctx, filepath.Join(cfg.DataDir, "etcd"))
	if err != nil {
		return nil, err
	}
	return &store{client: member.Client(), member: member}, nil
}

// watch returns an error when the embedded etcd stops before ctx ends.
func (s *store) watch(ctx context.Context) error {
	if s.member == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case <-s.member.Stopped():
		if ctx.Err() == nil {
			return errors.New("the embedded etcd stopped; its log above says why")
		}
	case <-ctx.Done():
	}
	return nil
}

// failed is closed when the embedded etcd cannot go on.
func (s *store) failed() <-chan struct{} {
	if s.member == nil {
		return nil
	}
	return s.member.Failed()
}

func (s *store) close() {
	if s.member != nil {
		s.member.Close()
		return
	}
	_ = s.client.Close()
}
