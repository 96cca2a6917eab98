package assemble

import (
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

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
	others := []loadbalancer.Range{}
	for whose, list := range map[string][]netip.Prefix{"the Services": cfg.ServiceCIDRs, "the Pods": cfg.PodCIDRs} {
		for _, p := range list {
			others = append(others, loadbalancer.Range{Prefix: p, Whose: whose})
		}
	}
	if _, problems := pools.Against(others); len(problems) > 0 {
		return nil, fmt.Errorf("load balancer %w", problems[0])
	}
	if len(cfg.LoadBalancerPool) == 0 {
		pools = nil
	}
	reader, err := clientset.NewForConfig(master(api))
	if err != nil {
		return nil, err
	}
	configMap := coreinformers.NewFilteredConfigMapInformer(reader, metav1.NamespaceSystem, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, loadbalancer.ConfigMapName).String()
	})
	informers := api.Informers()
	return loadbalancer.New(loadbalancer.Deps{
		Client: client, Services: informers.Core().V1().Services(), Nodes: informers.Core().V1().Nodes(),
		CIDRs: informers.Networking().V1().ServiceCIDRs(), ConfigMap: configMap, Events: c.recorder(client, "service-controller"),
	}, loadbalancer.Config{Pools: pools, Pods: cfg.PodCIDRs, Server: cfg.Advertise})
}
