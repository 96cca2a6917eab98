package assemble

import (
	clientset "k8s.io/client-go/kubernetes"

	"github.com/duetk8s/duet/apiserver"
	"github.com/duetk8s/duet/controllers/endpointslice"
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
