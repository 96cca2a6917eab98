package assemble

import (
	"k8s.io/apiserver/pkg/authentication/user"
	clientset "k8s.io/client-go/kubernetes"

	"github.com/duetk8s/duet/apiserver"
	"github.com/duetk8s/duet/scheduler"
)

func (c *controllers) scheduler(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(&user.DefaultInfo{Name: scheduler.Identity}))
	if err != nil {
		return nil, err
	}
	informers := api.Informers().Core().V1()
	return scheduler.New(scheduler.Deps{
		Client: client, Pods: informers.Pods(), Nodes: informers.Nodes(), Events: c.recorder(client, "default-scheduler"),
	}, scheduler.Config{})
}
