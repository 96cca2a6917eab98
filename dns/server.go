package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/listen"
)

// listenAgain is how long the server waits after an address could not be listened on.
const listenAgain = 5 * time.Second

// Deps are what the server works with. The caller starts the informers after New.
type Deps struct {
	// Client may write endpointslices and read ConfigMap kube-dns of namespace kube-system.
	Client     kubernetes.Interface
	Namespaces coreinformers.NamespaceInformer
	Services   coreinformers.ServiceInformer
	Pods       coreinformers.PodInformer
	Slices     discoveryinformers.EndpointSliceInformer
	CIDRs      networkinginformers.ServiceCIDRInformer
	Events     record.EventRecorder
	Metrics    prometheus.Registerer // nil keeps them to itself
}

// Config comes from the server's flags.
type Config struct {
	// Domain of the cluster: "cluster.local".
	Domain string
	// Addresses to listen on, one or two of different families, which Pods can reach.
	Addresses []netip.Addr
	// Port to listen on, for UDP and TCP; if it is in use, any other is taken.
	Port uint16
	// Ranges of Services and Pods, of whose addresses nobody else knows names; those of ServiceCIDRs
	// are known without.
	Ranges []netip.Prefix
	// ResolvConf is a file with the name servers that are asked for names outside the zone, followed
	// when it changes; "": there are no such names, unless ConfigMap kube-dns says whom to ask.
	ResolvConf string
	// Dial reaches the servers of ResolvConf, which may be on the loopback of another network
	// namespace; nil: they are reached from here. Those of the ConfigMap are always reached from here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Leave says that other servers answer too: the EndpointSlices are taken away at the end, and those
	// of servers that died without doing so.
	Leave bool
}

// Server is the cluster's DNS.
//
// Concurrency: questions are answered by as many goroutines as there are questions.
type Server struct {
	deps   Deps
	config Config
	zone   Zone
	source Source
	synced []cache.DoneChecker

	custom    cache.SharedIndexInformer // of ConfigMap kube-dns
	routing   routing
	forwarder *forwarder
	metrics   *metrics
}

// New registers with the informers.
func New(deps Deps, config Config) (*Server, error) {
	if config.Domain == "" || len(config.Addresses) == 0 {
		return nil, errors.New("dns: a domain and an address are needed")
	}
	source, err := newStores(deps)
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	if config.Dial == nil {
		config.Dial = dial
	}
	s := &Server{
		deps: deps, config: config, zone: Zone{strings.ToLower(dns.Fqdn(config.Domain)), config.Ranges}, source: source,
		custom: configMaps(deps.Client), forwarder: newForwarder(), metrics: newMetrics(),
	}
	s.routing.now.Store(&routes{})
	if err := s.metrics.register(deps.Metrics); err != nil {
		return nil, fmt.Errorf("dns: metrics: %w", err)
	}
	for _, i := range []cache.SharedIndexInformer{deps.Namespaces.Informer(), deps.Services.Informer(), deps.Pods.Informer(), deps.Slices.Informer(), deps.CIDRs.Informer()} {
		s.synced = append(s.synced, i.HasSyncedChecker())
	}
	return s, nil
}

// Run answers until ctx ends, and returns when all goroutines are gone. An address that cannot be
// listened on is tried again and again: the cluster works without names.
func (s *Server) Run(ctx context.Context) error {
	if !cache.WaitFor(ctx, "", s.synced...) {
		return nil // before everything has been read, every name would seem not to exist
	}
	var group sync.WaitGroup
	defer group.Wait()
	if s.config.ResolvConf != "" {
		s.readResolvConf(ctx)
		group.Go(func() { s.followResolvConf(ctx) })
	}
	var heeding listen.Listener
	heeding.To(s.custom, s.heeding(ctx))
	if err := heeding.Err(); err != nil {
		return fmt.Errorf("dns: watch ConfigMap %s: %w", configMap, err)
	}
	group.Go(func() { s.custom.RunWithContext(ctx) })
	if !heeding.Synced(ctx) {
		return nil
	}
	if s.config.Leave {
		group.Go(func() { s.keep(ctx, []string{metav1.NamespaceDefault + "/kubernetes"}, s.bury) })
	}
	for _, address := range s.config.Addresses {
		group.Go(func() {
			for ctx.Err() == nil {
				if err := s.serve(ctx, address); err != nil {
					klog.FromContext(ctx).Error(err, "No cluster DNS on this address, will try again", "address", address)
				}
				select {
				case <-ctx.Done():
				case <-time.After(listenAgain):
				}
			}
		})
	}
	return nil
}

// serve answers on one address, and says so, until ctx ends or a socket fails.
func (s *Server) serve(ctx context.Context, address netip.Addr) error {
	udp, tcp, err := s.listen(ctx, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { s.publish(ctx, address, portOfAddr(udp.LocalAddr()), portOfAddr(tcp.Addr())) })
	return s.answer(ctx, udp, tcp)
}

// answer answers at two sockets until ctx ends or one fails, and closes them, and clients' connections.
func (s *Server) answer(ctx context.Context, udp net.PacketConn, tcp net.Listener) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.handle(ctx, w, m) })
	servers := []*dns.Server{{PacketConn: udp, Handler: handler, UDPSize: dns.MaxMsgSize}, {Listener: tcp, Handler: handler}}
	var group sync.WaitGroup
	failed := make(chan error, len(servers))
	for _, server := range servers {
		group.Go(func() { failed <- server.ActivateAndServe() })
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	for _, server := range servers { // a client may ask every now and then for a quarter of an hour
		_ = server.ShutdownContext(ctx)
	}
	_, _ = udp.Close(), tcp.Close() // of one that has not begun
	group.Wait()
	return err
}

// listen opens both sockets, on the configured port if it is free.
func (s *Server) listen(ctx context.Context, address netip.Addr) (net.PacketConn, net.Listener, error) {
	var config net.ListenConfig
	for _, port := range []uint16{s.config.Port, 0} {
		at := netip.AddrPortFrom(address, port).String()
		udp, err := config.ListenPacket(ctx, "udp", at)
		if err != nil {
			if port != 0 && errors.Is(err, syscall.EADDRINUSE) {
				continue
			}
			return nil, nil, fmt.Errorf("dns: listen: %w", err)
		}
		tcp, err := config.Listen(ctx, "tcp", at)
		if err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close()
		if port == 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, fmt.Errorf("dns: listen: %w", err)
		}
	}
	return nil, nil, fmt.Errorf("dns: listen: no port is free on %s", address)
}

func portOfAddr(a net.Addr) int32 {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0
	}
	return int32(ap.Port())
}
