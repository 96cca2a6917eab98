package assemble

import (
	"net/netip"

	clientset "k8s.io/client-go/kubernetes"

	"github.com/duetk8s/duet/apiserver"
	"github.com/duetk8s/duet/controllers/endpoints"
	"github.com/duetk8s/duet/controllers/endpointslice"
	"github.com/duetk8s/duet/controllers/endpointslicemirroring"
	"github.com/duetk8s/duet/loadbalancer"
)

func (c *controllers) endpointSlice(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("endpointslice-controller")))
	if err != nil {
		return nil, err
	}
	core := api.Informers().Core().V1()
	return endpointslice.New(endpointslice.Deps{
		Client: client, Services: core.Services(), Pods: core.Pods(), Nodes: core.Nodes(),
		Slices: api.Informers().Discovery().V1().EndpointSlices(), Events: c.recorder(client, "endpoint-slice-controller"),
	})
}

func (c *controllers) endpoints(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("endpoint-controller")))
	if err != nil {
		return nil, err
	}
	core := api.Informers().Core().V1()
	return endpoints.New(endpoints.Deps{
		Client: client, Services: core.Services(), Pods: core.Pods(), Endpoints: core.Endpoints(),
		Events: c.recorder(client, "endpoint-controller"),
	})
}

func (c *controllers) endpointSliceMirroring(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("endpointslicemirroring-controller")))
	if err != nil {
		return nil, err
	}
	core := api.Informers().Core().V1()
	return endpointslicemirroring.New(endpointslicemirroring.Deps{
		Client: client, Services: core.Services(), Endpoints: core.Endpoints(), Slices: api.Informers().Discovery().V1().EndpointSlices(),
		Events: c.recorder(client, "endpoint-slice-mirroring-controller"),
	})
}

func (c *controllers) loadBalancer(api *apiserver.Server, cfg ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("service-controller")))
	if err != nil {
		return nil, err
	}
	pools := loadbalancer.Pools{{Name: "default", Prefixes: cfg.LoadBalancerPool}}
	if err := pools.Check(map[string][]netip.Prefix{"Service range": cfg.ServiceCIDRs, "Pod range": cfg.PodCIDRs}); err != nil {
		return nil, err
	}
	return loadbalancer.New(loadbalancer.Deps{
		Client: client, Services: api.Informers().Core().V1().Services(), Events: c.recorder(client, "service-controller"),
	}, loadbalancer.Config{Pools: pools})
}
