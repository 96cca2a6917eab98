package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// listenAgain is how long the server waits after an address could not be listened on.
const listenAgain = 5 * time.Second

// Deps are what the server works with. The caller starts the informers after New.
type Deps struct {
	Client     kubernetes.Interface // may write endpointslices of namespace kube-system
	Namespaces coreinformers.NamespaceInformer
	Services   coreinformers.ServiceInformer
	Slices     discoveryinformers.EndpointSliceInformer
}

// Config comes from the server's flags.
type Config struct {
	// Domain of the cluster: "cluster.local".
	Domain string
	// Addresses to listen on, one or two of different families, which Pods can reach.
	Addresses []netip.Addr
	// Port to listen on, for UDP and TCP; if it is in use, any other is taken.
	Port uint16
	// Upstreams are asked for names outside the zone, in turn; with none there are no such names.
	Upstreams []netip.AddrPort
	// Leave takes the EndpointSlices away at the end: other servers answer too.
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
}

// New registers with the informers.
func New(deps Deps, config Config) (*Server, error) {
	if config.Domain == "" || len(config.Addresses) == 0 {
		return nil, errors.New("dns: a domain and an address are needed")
	}
	source, err := newStores(deps.Namespaces, deps.Services, deps.Slices)
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	s := &Server{deps: deps, config: config, zone: Zone(strings.ToLower(dns.Fqdn(config.Domain))), source: source}
	for _, i := range []cache.SharedIndexInformer{deps.Namespaces.Informer(), deps.Services.Informer(), deps.Slices.Informer()} {
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
	group.Wait()
	return nil
}

// serve answers on one address until ctx ends or a socket fails.
func (s *Server) serve(ctx context.Context, address netip.Addr) error {
	udp, tcp, err := s.listen(ctx, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.handle(ctx, w, m) })
	servers := []*dns.Server{{PacketConn: udp, Handler: handler, UDPSize: dns.MaxMsgSize}, {Listener: tcp, Handler: handler}}
	var group sync.WaitGroup
	failed := make(chan error, len(servers))
	for _, server := range servers {
		group.Go(func() { failed <- server.ActivateAndServe() })
	}
	group.Go(func() { s.publish(ctx, address, portOfAddr(udp.LocalAddr()), portOfAddr(tcp.Addr())) })
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	cancel()
	_, _ = udp.Close(), tcp.Close()
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

// handle answers one message.
func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) {
	reply := s.reply(ctx, m)
	if opt := m.IsEdns0(); opt != nil {
		reply.SetEdns0(opt.UDPSize(), opt.Do())
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := m.IsEdns0(); opt != nil {
			size = max(size, min(int(opt.UDPSize()), 1232))
		}
		reply.Truncate(size)
	} else {
		reply.Truncate(dns.MaxMsgSize)
	}
	_ = w.WriteMsg(reply) // the client is gone
}

// reply makes the answer to a message.
func (s *Server) reply(ctx context.Context, m *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(m)
	reply.RecursionAvailable = len(s.config.Upstreams) > 0
	if m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 || m.Question[0].Qclass != dns.ClassINET {
		return reply.SetRcode(m, dns.RcodeNotImplemented)
	}
	q := m.Question[0]
	a := s.zone.Answer(q, s.source)
	if !a.Ours {
		if len(s.config.Upstreams) > 0 {
			return s.forward(ctx, m)
		}
		reply.Rcode = dns.RcodeNameError
		return reply
	}
	reply.Authoritative = true
	reply.Rcode, reply.Answer, reply.Extra = a.Code, a.Answers, a.Extra
	if a.Outside != "" && len(s.config.Upstreams) > 0 {
		beyond := s.forward(ctx, new(dns.Msg).SetQuestion(a.Outside, q.Qtype))
		reply.Rcode, reply.Answer = beyond.Rcode, append(reply.Answer, beyond.Answer...)
		return reply
	}
	if len(reply.Answer) == 0 {
		reply.Ns = []dns.RR{s.zone.authority()}
	} else if a.Answers[0].Header().Rrtype != dns.TypeCNAME { // its order counts
		rand.Shuffle(len(reply.Answer), func(i, j int) { reply.Answer[i], reply.Answer[j] = reply.Answer[j], reply.Answer[i] })
	}
	return reply
}
