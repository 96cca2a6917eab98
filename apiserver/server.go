// Package apiserver is the Kubernetes API on k8s.io/apiserver: one table of served kinds
// (table.go, mission.go), one store for each of them (store.go), and the transaction that lets a
// Service and its addresses appear and vanish together (claims.go).
//
// It decides no addresses (package clusterip does), runs no controllers and opens no sockets:
// package assemble hands it an etcd client, certificates and listeners.
//
// # Guarantees
//
// See claimStorage: no crash and no race leaves an address or node port without its Service, a
// Service without its address, or an address twice.
package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/duetk8s/duet/apiserver/access"
	"github.com/duetk8s/duet/apiserver/openapi"
	"github.com/duetk8s/duet/apiserver/resource"
	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/dualstack"
)

// Config is all the server needs. It is checked by whoever reads the flags.
type Config struct {
	// Etcd is where everything is stored; SharedEtcd says that other servers write there too.
	Etcd       *kubernetes.Client
	SharedEtcd bool
	// Families of the Service ranges, default first (B4.9), and the range of node ports.
	Families  []dualstack.Family
	NodePorts clusterip.PortRange
	// Listeners are served over TLS with Serving; ClientCA verifies client certificates.
	Listeners []net.Listener
	Serving   dynamiccertificates.CertKeyContentProvider
	ClientCA  dynamiccertificates.CAContentProvider
	// Advertise is the server's own host:port, as discovery names it.
	Advertise string
	// Secrets encrypts Secrets at rest; nil stores them as they are.
	Secrets value.Transformer
	// TokenKey signs the tokens of service accounts; nil makes one that is forgotten with the server.
	TokenKey *ecdsa.PrivateKey
	// AllowExternalIPs lets Services have spec.externalIPs.
	AllowExternalIPs bool
	// Images serves /v2/ to those who may; nil serves nothing there.
	Images http.Handler
	// NodeCA is the authority of the agents' serving certificates, as PEM.
	NodeCA []byte
	// NodeClient is the certificate shown to the agents of nodes; nil shows none.
	NodeClient func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// Server is an API server that has been put together.
//
// Concurrency: Identity and Hook belong before Run; everything else may be used at any time.
type Server struct {
	Generic *genericapiserver.GenericAPIServer

	backend   *backend
	allocator *allocator
	loopback  *loopback
	self      *rest.Config // of the server's own client
	client    clientset.Interface
	index     *access.Index
	stores    map[schema.GroupResource]*registry.Store
	codecs    map[schema.GroupResource]runtime.Codec // of Services and what they claim
	nodePorts clusterip.PortRange
	informers informers.SharedInformerFactory
	feeds     []*feed
	hooks     []hook
	ready     chan struct{}
	policy    informers.SharedInformerFactory // of roles and bindings
	seeded    chan struct{}

	identities identities
}

type hook struct {
	name string
	run  func(context.Context) error
}

// New puts the server together and reads from etcd what it must know before it can allocate: the
// ServiceCIDRs and what is taken.
func New(ctx context.Context, cfg Config) (_ *Server, err error) {
	s := &Server{
		loopback: newLoopback(), index: access.NewIndex(), ready: make(chan struct{}), seeded: make(chan struct{}),
		stores: map[schema.GroupResource]*registry.Store{},
	}
	space := clusterip.NewSpace(clusterip.Config{Families: cfg.Families, NodePorts: cfg.NodePorts})
	s.allocator = newAllocator(space)
	if err := s.connect(); err != nil {
		return nil, err
	}
	if err := s.identify(cfg); err != nil {
		return nil, err
	}
	masters := s.authorizer()

	defer func() {
		if err != nil && s.backend != nil {
			s.backend.close()
		}
	}()
	rows := append(missionRows(s.allocator), table()...)
	guard := &access.Guard{Held: s.index, Authorizer: masters, Roles: storedRoles{s.stores}}
	guard.Complete(rows)
	sch, err := newScheme(rows)
	if err != nil {
		return nil, err
	}
	s.backend = newBackend(sch, cfg.Etcd, map[schema.GroupResource]value.Transformer{{Resource: "secrets"}: cfg.Secrets})
	if err := s.wireClaims(ctx, space, cfg); err != nil {
		return nil, err
	}
	paths, err := s.paths(rows)
	if err != nil {
		return nil, err
	}
	if err := s.podPaths(paths, cfg, masters); err != nil {
		return nil, err
	}
	for group, resources := range access.Reviews(masters, s.index) {
		for name, review := range resources {
			paths.add(group, "v1", name, review)
		}
	}
	s.identityPaths(paths)
	return s, s.mount(cfg, sch, masters, paths)
}

// mount puts everything behind the filters of k8s.io/apiserver: the API's paths and those beside it.
func (s *Server) mount(cfg Config, sch *scheme, masters authorizer.Authorizer, paths endpoints) (err error) {
	config := s.genericConfig(sch, cfg, masters)
	if err := s.admission(config, cfg); err != nil {
		return err
	}
	s.Generic, err = config.Complete(s.informers).New("duet", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	s.Generic.ShutdownTimeout = shutdownGrace
	s.mountImages(cfg.Images)
	if err := s.mountIssuer(cfg.Advertise); err != nil {
		return err
	}
	openapi.Register(s.Generic.Handler.NonGoRestfulMux)
	s.Generic.Handler.NonGoRestfulMux.HandleFunc(AuditPath, s.serveAudit)
	s.Generic.Handler.NonGoRestfulMux.HandleFunc(definitionsPath, noDefinitions)
	if err := openapi.Install(s.Generic, config, openapi.Types(), paths.groups(sch)...); err != nil {
		return err
	}
	if err := s.allocator.metrics.register(); err != nil {
		return fmt.Errorf("apiserver: metrics: %w", err)
	}
	return s.healthChecks()
}

// shutdownGrace is what open watches get before their connections are cut at shutdown; ordinary
// requests are always finished.
const shutdownGrace = time.Second

// paths makes a store and its endpoints for every row.
func (s *Server) paths(rows []resource.Resource) (endpoints, error) {
	e := endpoints{}
	for _, r := range rows {
		gr := schema.GroupResource{Group: r.Group, Resource: r.Plural}
		if gr.Group == "events.k8s.io" {
			continue // shares the store of core events, see below
		}
		store, err := s.backend.store(r)
		if err != nil {
			return nil, err
		}
		s.stores[gr] = store
		main := object{store, r}
		switch gr {
		case schema.GroupResource{Resource: "pods"}:
			deleteGracefully(store)
			e.addRow(r, store, main)
		case schema.GroupResource{Resource: "services"}:
			e.addRow(r, store, services{main})
		case schema.GroupResource{Resource: "namespaces"}:
			e.addRow(r, store, newNamespaces(main))
			e.add("", "v1", "namespaces/finalize", newFinalize(store))
		case schema.GroupResource{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}:
			e.addRow(r, store, main)
			e.add(gr.Group, "v1", gr.Resource+"/approval", newApproval(store))
		case schema.GroupResource{Resource: "events"}:
			e.addRow(r, store, main)
			e.add("events.k8s.io", "v1", "events", main)
		default:
			e.addRow(r, store, main)
		}
	}
	s.stores[schema.GroupResource{Resource: "services"}].AfterDelete = deleteEndpoints(s.stores[schema.GroupResource{Resource: "endpoints"}])
	return e, nil
}

// wireClaims puts claims.go between the watch cache and etcd, and starts knowing what is taken.
func (s *Server) wireClaims(ctx context.Context, space *clusterip.Space, cfg Config) error {
	b := s.backend
	codecs := map[schema.GroupResource]runtime.Codec{}
	s.codecs, s.nodePorts = codecs, cfg.NodePorts
	for _, gr := range []schema.GroupResource{servicesResource, addressesResource, rangesResource} {
		codec, _, err := b.codec(gr.Group, "v1")
		if err != nil {
			return fmt.Errorf("apiserver: %w", err)
		}
		codecs[gr] = codec
	}
	ranges := newRangeFeed(cfg.Etcd.Client, codecs[rangesResource], space)
	claims := &claimStorage{space: space, ranges: ranges, codec: codecs[addressesResource], metrics: s.allocator.metrics}
	b.atomic[servicesResource] = func(raw storage.Interface) storage.Interface {
		wrapped := *claims
		wrapped.Interface = raw
		return &wrapped
	}
	b.atomic[addressesResource] = func(raw storage.Interface) storage.Interface {
		return &addressStorage{Interface: raw, claims: claims, client: cfg.Etcd, services: codecs[servicesResource]}
	}
	b.atomic[rangesResource] = func(raw storage.Interface) storage.Interface {
		return &rangeStorage{Interface: raw, feed: ranges}
	}
	s.feeds = []*feed{
		&ranges.feed,
		claimFeed(cfg.Etcd.Client, addressPrefix, func(revision int64, all []clusterip.Change) { space.ReplaceAddrs(revision, addrs(all)) }, space.Apply),
		claimFeed(cfg.Etcd.Client, nodePortPrefix, func(revision int64, all []clusterip.Change) { space.ReplacePorts(revision, ports(all)) }, space.Apply),
	}
	for _, f := range s.feeds {
		if err := f.start(ctx); err != nil {
			return fmt.Errorf("apiserver: %w", err)
		}
	}
	if cfg.SharedEtcd {
		s.allocator.refresh = s.catchUp
	}
	return nil
}

// catchUp waits until the space knows all that is in etcd now.
func (s *Server) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := s.backend.client.Kubernetes.Get(ctx, addressPrefix, kubernetes.GetOptions{})
	if err != nil {
		return err
	}
	for _, f := range s.feeds {
		if err := f.reach(ctx, resp.Revision); err != nil {
			return err
		}
	}
	return nil
}

// genericConfig is the configuration of k8s.io/apiserver.
func (s *Server) genericConfig(sch *scheme, cfg Config, authz authorizer.Authorizer) *genericapiserver.Config {
	c := genericapiserver.NewConfig(sch.codecs)
	c.SecureServing = &genericapiserver.SecureServingInfo{
		Listener: newListeners(cfg.Listeners), Cert: cfg.Serving, ClientCA: cfg.ClientCA,
		HTTP2MaxStreamsPerConnection: 1000,
	}
	c.ExternalAddress = cfg.Advertise
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	c.Authentication.Authenticator, c.Authentication.APIAudiences = s.authenticator(cfg), audiences
	c.Authorization.Authorizer = authz
	c.RuleResolver = s.index
	c.LoopbackClientConfig = s.self
	c.LongRunningFunc = longRunning()
	c.EnableProfiling = true
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(bounded(api, c), c)
	}
	return c
}

// healthChecks adds what /livez and /readyz say by name beside the post-start hooks.
func (s *Server) healthChecks() error {
	check := healthz.NamedCheck("etcd", func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		_, err := s.backend.client.Kubernetes.Get(ctx, "/duet/hello", kubernetes.GetOptions{})
		return err
	})
	return s.Generic.AddHealthChecks(check)
}

// Identity returns a client configuration for a part of this process. Only what runs here can have
// one: it goes through memory.
func (s *Server) Identity(who user.Info) *rest.Config { return s.loopback.config(who) }

// Hook has run called when requests can be served; until it returns, /readyz names it as failing.
// Hooks run one after another, in the order they were added.
func (s *Server) Hook(name string, run func(context.Context) error) {
	s.hooks = append(s.hooks, hook{name, run})
}

// Informers are shared by all controllers of this process. They start with Run, which starts only
// those asked for before.
func (s *Server) Informers() informers.SharedInformerFactory { return s.informers }

// Ready is closed when /readyz says ok for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends and all requests are answered, or a hook fails.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.hooks = append([]hook{
		{"storage-caches", s.backend.fill},
		{"rbac/bootstrap-roles", s.seedPolicy},
		{"scheduling/bootstrap-system-priority-classes", s.seedPriorities},
	}, s.hooks...)
	gates := make([]chan struct{}, len(s.hooks))
	for i, h := range s.hooks {
		gates[i] = make(chan struct{})
		err := s.Generic.AddPostStartHook(h.name, func(ctx genericapiserver.PostStartHookContext) error {
			select {
			case <-gates[i]:
			case <-ctx.Done():
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("apiserver: %w", err)
		}
	}
	prepared := s.Generic.PrepareRun()

	var background sync.WaitGroup
	inside, outlived := context.WithCancel(context.WithoutCancel(ctx)) // until the last request is answered
	for _, f := range s.feeds {
		background.Go(func() { f.run(inside) })
	}
	background.Go(func() { s.loopback.serve(inside, s.Generic.Handler) })
	background.Go(func() { s.start(ctx, stop, gates) })
	background.Go(func() { s.confirmPolicy(ctx) })
	err := prepared.RunWithContext(ctx)
	outlived()
	s.backend.close()
	background.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// start runs the hooks in order, opening each one's gate, and then says that the server is ready.
func (s *Server) start(ctx context.Context, stop context.CancelCauseFunc, gates []chan struct{}) {
	for i, h := range s.hooks {
		if err := h.run(ctx); err != nil {
			if ctx.Err() == nil {
				stop(fmt.Errorf("start: %s: %w", h.name, err))
			}
			return
		}
		close(gates[i])
	}
	// What is left are caches that are filling: their readiness has no event to wait for.
	for !s.probe("/readyz") {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
	close(s.ready)
}

// probe asks the server itself, as a load balancer would.
func (s *Server) probe(path string) bool {
	recorder := httptest.NewRecorder()
	s.Generic.Handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code == http.StatusOK
}
