package assemble

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	accounts "k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/discovery"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/apiserver"
	"github.com/duetk8s/duet/controllers/certificates"
	"github.com/duetk8s/duet/controllers/clusterroleaggregation"
	"github.com/duetk8s/duet/controllers/garbagecollector"
	"github.com/duetk8s/duet/controllers/kubernetesservice"
	"github.com/duetk8s/duet/controllers/namespace"
	"github.com/duetk8s/duet/controllers/nodeipam"
	"github.com/duetk8s/duet/controllers/nodelifecycle"
	"github.com/duetk8s/duet/controllers/podgc"
	"github.com/duetk8s/duet/controllers/serviceaccount"
	"github.com/duetk8s/duet/controllers/servicecidr"
	"github.com/duetk8s/duet/controllers/tokencleaner"
	"github.com/duetk8s/duet/pki"
)

// leaseMeta is the Lease by which several servers agree who runs the controllers.
var leaseMeta = metav1.ObjectMeta{Namespace: "kube-system", Name: "duet-controllers"}

// runner is what every controller is to this package.
type runner interface {
	Run(ctx context.Context) error
}

// controllers are those of this server: every server keeps its own address in Service kubernetes,
// and one of all servers on an etcd does the rest.
type controllers struct {
	everywhere, elected []runner
	events              []record.EventBroadcaster
	lock                resourcelock.Interface // nil where there is only one server
	keys                *pki.Bundle
}

// identity is the service account a controller works as; what it may do is in the roles of
// package access, by the same name.
func identity(controller string) user.Info {
	return accounts.UserInfo("kube-system", controller, "")
}

// master may do everything: it makes the objects every cluster starts with.
func master(api *apiserver.Server) *rest.Config {
	return api.Identity(&user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}})
}

// newControllers makes the controllers and hooks into the server's start what must exist before it
// is ready: the standard namespaces, the default ServiceCIDR, Services kubernetes and kube-dns.
func newControllers(api *apiserver.Server, cfg ServerConfig, keys *pki.Bundle) (*controllers, error) {
	c := &controllers{keys: keys}
	admin, err := clientset.NewForConfig(master(api))
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	informers := api.Informers()

	defaults, err := kubernetesservice.New(kubernetesservice.Deps{
		Client: admin, CIDRs: informers.Networking().V1().ServiceCIDRs(), Events: c.recorder(admin, "kubernetes-service-cidr-controller"),
	}, kubernetesservice.Config{Ranges: cfg.ServiceCIDRs, Advertise: cfg.Advertise, Port: cfg.port(), Shared: cfg.shared()})
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	names, err := c.newDNS(api, cfg)
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	c.everywhere = append(c.everywhere, defaults, names)
	api.Hook("start-system-namespaces-controller", func(ctx context.Context) error { return namespace.Ensure(ctx, admin) })
	api.Hook("start-kubernetes-service-cidr-controller", func(ctx context.Context) error { return defaults.Ensure(ctx, admin) })
	api.ReportFullRanges(c.recorder(admin, "ipallocator"))

	elected := []func(*apiserver.Server, ServerConfig) (runner, error){
		c.serviceCIDR, c.namespace, c.garbageCollector, c.aggregation, c.nodeIPAM, c.certificates, c.serviceAccount,
		c.nodeLifecycle, c.podGC, c.tokenCleaner, c.scheduler, c.endpointSlice, c.endpoints, c.endpointSliceMirroring, c.loadBalancer,
	}
	for _, make := range elected {
		r, err := make(api, cfg)
		if err != nil {
			return nil, fmt.Errorf("assemble: %w", err)
		}
		c.elected = append(c.elected, r)
	}
	if cfg.shared() {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("assemble: %w", err)
		}
		c.lock = &resourcelock.LeaseLock{
			LeaseMeta: leaseMeta, Client: admin.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: fmt.Sprintf("%s_%s", host, cfg.Listeners[0].Addr())},
		}
	}
	return c, nil
}

func (c *controllers) serviceCIDR(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("service-cidrs-controller")))
	if err != nil {
		return nil, err
	}
	return servicecidr.New(servicecidr.Deps{
		Client: client, CIDRs: api.Informers().Networking().V1().ServiceCIDRs(), Events: c.recorder(client, "service-cidr-controller"),
	}, servicecidr.Config{})
}

func (c *controllers) namespace(api *apiserver.Server, _ ServerConfig) (runner, error) {
	admin, err := clientset.NewForConfig(master(api))
	if err != nil {
		return nil, err
	}
	clients, err := dynamicClients(api.Identity(identity("namespace-controller")))
	if err != nil {
		return nil, err
	}
	return namespace.New(namespace.Deps{
		Client: clients.typed, Standard: admin, Metadata: clients.metadata, Discovery: clients.discovery, Namespaces: api.Informers().Core().V1().Namespaces(),
	}, namespace.Config{})
}

func (c *controllers) garbageCollector(api *apiserver.Server, _ ServerConfig) (runner, error) {
	clients, err := dynamicClients(api.Identity(identity("generic-garbage-collector")))
	if err != nil {
		return nil, err
	}
	return garbagecollector.New(garbagecollector.Deps{
		Metadata: clients.metadata, Discovery: clients.discovery, Events: c.recorder(clients.typed, "garbage-collector-controller"),
	}, garbagecollector.Config{})
}

func (c *controllers) aggregation(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("clusterrole-aggregation-controller")))
	if err != nil {
		return nil, err
	}
	return clusterroleaggregation.New(api.Informers().Rbac().V1().ClusterRoles(), client.RbacV1().ClusterRoles())
}

func (c *controllers) nodeIPAM(api *apiserver.Server, cfg ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("node-controller")))
	if err != nil {
		return nil, err
	}
	return nodeipam.New(nodeipam.Deps{
		Client: client, Nodes: api.Informers().Core().V1().Nodes(), Events: c.recorder(client, "cidrAllocator"),
	}, nodeipam.Config{Pods: cfg.PodCIDRs, Services: cfg.ServiceCIDRs})
}

func (c *controllers) certificates(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("certificate-controller")))
	if err != nil {
		return nil, err
	}
	return certificates.New(certificates.Deps{
		Client: client, Requests: api.Informers().Certificates().V1().CertificateSigningRequests(),
		Nodes: api.Informers().Core().V1().Nodes(), Clients: c.keys.Cluster(), Serving: c.keys.Nodes(),
	})
}

func (c *controllers) serviceAccount(api *apiserver.Server, _ ServerConfig) (runner, error) {
	deps := serviceaccount.Deps{Namespaces: api.Informers().Core().V1().Namespaces(), Existing: api.Informers().Core().V1().ServiceAccounts()}
	for client, who := range map[*clientset.Interface]*rest.Config{
		&deps.Accounts:  api.Identity(identity("service-account-controller")),
		&deps.Publisher: api.Identity(identity("root-ca-cert-publisher")),
		&deps.Reader:    master(api),
	} {
		made, err := clientset.NewForConfig(who)
		if err != nil {
			return nil, err
		}
		*client = made
	}
	return serviceaccount.New(deps, c.keys.CA())
}

func (c *controllers) nodeLifecycle(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("node-controller")))
	if err != nil {
		return nil, err
	}
	core := api.Informers().Core().V1()
	return nodelifecycle.New(nodelifecycle.Deps{
		Client: client, Nodes: core.Nodes(), Pods: core.Pods(), Leases: api.Informers().Coordination().V1().Leases(),
		Events: c.recorder(client, "node-controller"),
	})
}

func (c *controllers) tokenCleaner(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("token-cleaner")))
	if err != nil {
		return nil, err
	}
	return tokencleaner.New(tokencleaner.Deps{Client: client})
}

func (c *controllers) podGC(api *apiserver.Server, _ ServerConfig) (runner, error) {
	client, err := clientset.NewForConfig(api.Identity(identity("pod-garbage-collector")))
	if err != nil {
		return nil, err
	}
	core := api.Informers().Core().V1()
	return podgc.New(podgc.Deps{Client: client, Nodes: core.Nodes(), Pods: core.Pods()})
}

// clients of one identity that works on kinds it learns at run time.
type clients struct {
	typed     clientset.Interface
	metadata  metadata.Interface
	discovery discovery.DiscoveryInterfaceWithContext
}

func dynamicClients(config *rest.Config) (clients, error) {
	typed, err := clientset.NewForConfig(config)
	if err != nil {
		return clients{}, err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return clients{}, err
	}
	return clients{typed, meta, discovery.ToDiscoveryInterfaceWithContext(typed.Discovery())}, nil
}

// recorder writes events as a component, with client's identity.
func (c *controllers) recorder(client clientset.Interface, component string) record.EventRecorder {
	b := record.NewBroadcaster()
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	c.events = append(c.events, b)
	return b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
}

// run runs all controllers until ctx ends.
func (c *controllers) run(ctx context.Context) error {
	defer func() {
		for _, b := range c.events {
			b.Shutdown()
		}
	}()
	group, ctx := errgroup.WithContext(ctx)
	start := func(ctx context.Context, all []runner) {
		for _, r := range all {
			group.Go(func() error { return r.Run(ctx) })
		}
	}
	start(ctx, c.everywhere)
	if c.lock == nil {
		start(ctx, c.elected)
		return group.Wait()
	}
	group.Go(func() error { return c.elect(ctx, func(ctx context.Context) { start(ctx, c.elected) }) })
	return group.Wait()
}

// elect calls lead when this server has become the one that leads. Losing the office ends the
// process's controllers, and with them the process: they hold state of their office.
func (c *controllers) elect(ctx context.Context, lead func(context.Context)) error {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: c.lock, ReleaseOnCancel: true, Name: leaseMeta.Name,
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: lead, OnStoppedLeading: func() {}},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return fmt.Errorf("leader election: lease %s/%s was lost", leaseMeta.Namespace, leaseMeta.Name)
	}
	return nil
}
