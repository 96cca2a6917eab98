package assemble

import (
	"context"
	"net"
	"slices"

	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/duetk8s/duet/apiserver"
	"github.com/duetk8s/duet/dns"
	"github.com/duetk8s/duet/hostnet"
)

// What Pods find in their resolv.conf, and where its server listens.
const (
	clusterDomain = "cluster.local"
	dnsPort       = 5353
)

// newDNS makes the cluster's DNS, which every server answers on its own addresses.
func (c *controllers) newDNS(api *apiserver.Server, cfg ServerConfig) (*dns.Server, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("duet-dns")))
	if err != nil {
		return nil, err
	}
	informers := api.Informers()
	core := informers.Core().V1()
	return dns.New(dns.Deps{
		Client: client, Namespaces: core.Namespaces(), Services: core.Services(), Pods: core.Pods(),
		Slices: informers.Discovery().V1().EndpointSlices(), CIDRs: informers.Networking().V1().ServiceCIDRs(), Events: c.recorder(client, "duet-dns"), Metrics: legacyregistry.Registerer(),
	}, dns.Config{
		Domain: clusterDomain, Addresses: cfg.Advertise, Port: dnsPort, Leave: cfg.shared(), Ranges: slices.Concat(cfg.ServiceCIDRs, cfg.PodCIDRs),
		ResolvConf: cfg.ResolvConf, Dial: dialFrom(cfg.ResolvNetns),
	})
}

// dialFrom opens connections in a network namespace, "" for this process's.
func dialFrom(netns string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = hostnet.Within(netns, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}
