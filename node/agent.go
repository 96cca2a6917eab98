package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/network"
	"github.com/duetk8s/duet/node/internal/nodestatus"
	"github.com/duetk8s/duet/node/internal/probes"
	"github.com/duetk8s/duet/node/internal/streams"
	"github.com/duetk8s/duet/node/internal/volumes"
)

// Agent is the agent of one node.
type Agent struct {
	cfg  Config
	join func(ctx context.Context, cfg Config) (self, error)
}

// self is who the agent is to the API server, and with which certificate it serves.
type self interface {
	// Client follows the node's certificate when it is renewed.
	Client() *rest.Config
	// SetAddresses says which addresses the node's own API is to be found at, once the API server
	// knows them to be the node's.
	SetAddresses(addrs []netip.Addr)
	// Reconnect closes all connections of Client; whoever uses it connects anew.
	Reconnect()
	// Certificate of the node's own API, as it is now.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Run renews certificates until ctx ends.
	Run(ctx context.Context) error
}

// New checks a configuration. Nothing is touched before Run.
func New(cfg Config) (*Agent, error) {
	if cfg.Name == "" || cfg.RootDir == "" || cfg.CRISocket == "" {
		return nil, fmt.Errorf("node: a name, a root directory and the socket of a container runtime are needed")
	}
	return &Agent{cfg: cfg.withDefaults(), join: join}, nil
}

// Run joins the cluster and works until ctx ends; Pods live on. It returns when all of it has
// stopped.
func (a *Agent) Run(ctx context.Context) error {
	me, err := a.join(ctx, a.cfg)
	if err != nil {
		return err
	}
	client, err := clientset.NewForConfig(clientConfig(me.Client()))
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	connection, err := cri.Dial(ctx, a.cfg.CRISocket)
	if err != nil {
		return err
	}
	defer connection.Close()
	n, err := a.assemble(ctx, client, connection, me)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	defer n.events.Shutdown()
	defer n.sources.wait()
	group, ctx := errgroup.WithContext(ctx)
	n.informers.StartWithContext(ctx)
	defer n.informers.Shutdown()
	runs := []func(context.Context) error{me.Run, n.status.Run, n.network.Run, n.runPods, n.serve}
	for _, c := range n.beside {
		runs = append(runs, c.Run)
	}
	for _, run := range runs {
		group.Go(func() error { return run(ctx) })
	}
	if err := group.Wait(); ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// runPods begins when they have a network.
func (n *assembled) runPods(ctx context.Context) error {
	n.network.Await(ctx)
	return n.pods.Run(ctx)
}

// clientConfig: what a node asks for is never too much for its own API server.
func clientConfig(cfg *rest.Config) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.QPS = -1
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.UserAgent = "duet-node"
	return c
}

// running is an agent put together.
type assembled struct {
	informers informers.SharedInformerFactory
	events    record.EventBroadcaster
	sources   *sources
	status    *nodestatus.Status
	network   *network.Network
	pods      *pods
	streams   *streams.Server
	beside    []Component
	port      int
}

// assemble puts the parts together, in the order in which they need each other.
func (a *Agent) assemble(ctx context.Context, client clientset.Interface, connection *cri.Runtime, me self) (*assembled, error) {
	n := &assembled{informers: informers.NewSharedInformerFactory(client, 0), port: a.cfg.Port}
	nodes, services := n.informers.Core().V1().Nodes().Informer(), n.informers.Core().V1().Services()
	synced := cacheSynced(ctx, services.Informer())
	n.events = record.NewBroadcaster(record.WithContext(ctx))
	n.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	recorder := n.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: a.cfg.Name})
	n.sources = newSources(ctx, client)

	var err error
	if a.cfg.Beside != nil {
		if n.beside, err = a.cfg.Beside(Surroundings{n.informers, client, recorder}); err != nil {
			return nil, err
		}
	}
	n.network, err = network.New(network.Config{
		NodeName: a.cfg.Name, Nodes: nodes, ConfDir: a.cfg.CNIConfDir, StateDir: filepath.Join(a.cfg.RootDir, "cni", "state"),
	})
	if err != nil {
		return nil, err
	}
	n.status, err = nodestatus.New(nodestatus.Config{
		Name: a.cfg.Name, Client: client, Runtime: service{connection}, Nodes: nodes, Events: recorder, RootDir: a.cfg.RootDir,
		NodeIPs: a.cfg.NodeIPs, Port: uint16(a.cfg.Port), MaxPods: a.cfg.MaxPods, Labels: a.cfg.Labels, Taints: a.cfg.Taints, //nolint:gosec // a port
		Changed: func(addrs []netip.Addr) {
			me.SetAddresses(addrs)
			n.pods.nudge()
		},
		Moved: me.Reconnect, Clock: a.cfg.Clock,
	})
	if err != nil {
		return nil, err
	}
	n.pods = newPods(&parts{
		runtime: connection,
		content: &podContent{
			cfg: a.cfg, sources: n.sources, node: n.status.Node, hostIPs: n.status.HostIPs, held: map[types.UID]*held{},
			volumes:  volumes.New(volumes.Config{Root: a.cfg.kubelet(), Sources: n.sources, Node: n.status.Node, Clock: a.cfg.Clock}),
			services: listed(services.Lister(), synced),
		},
		prober: podProber{probes.New(probes.Config{Exec: execIn(connection), Clock: a.cfg.Clock})},
		api:    client.CoreV1(), secrets: n.sources.Secret, events: recorder, clock: a.cfg.Clock, hostIPs: n.status.HostIPs, admission: newAdmission(n.status.Now, func() *corev1.Node { return n.status.Ask(ctx) }), memory: newOOMCounts(a.cfg.CgroupParent), owner: newOwners(),
	}, boundTo(client, a.cfg.Name), n.sources, n.network, n.status.Check)

	ca, err := os.ReadFile(a.cfg.CAFile)
	if err != nil {
		return nil, err
	}
	authn, authz, err := streams.Delegate(client, ca)
	if err != nil {
		return nil, err
	}
	n.streams = streams.New(streams.Config{
		NodeName: a.cfg.Name, Pods: n.pods, Runtime: service{connection}, Certificate: me.Certificate,
		Authenticator: authn, Authorizer: authz, LogDir: filepath.Join(a.cfg.kubelet(), "logs"), Clock: a.cfg.Clock,
	})
	return n, nil
}

// serve serves the node's own API on all its addresses.
func (n *assembled) serve(ctx context.Context) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(n.port)))
	if err != nil {
		return fmt.Errorf("node: the node's API: %w", err)
	}
	return n.streams.Run(ctx, listener)
}

// boundTo lists and watches the Pods of one node.
func boundTo(client clientset.Interface, node string) cache.ListerWatcher {
	only := fields.OneTermEqualSelector("spec.nodeName", node).String()
	all := client.CoreV1().Pods(metav1.NamespaceAll)
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return all.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return all.Watch(ctx, options)
		},
	}, client)
}

// cacheSynced is closed when an informer has listed.
func cacheSynced(ctx context.Context, informer cache.SharedIndexInformer) <-chan struct{} {
	synced := make(chan struct{})
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			close(synced)
		}
	}()
	return synced
}
