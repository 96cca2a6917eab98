package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
	"k8s.io/klog/v2"
)

const (
	// upstreamTimeout is how long one upstream may take, and all of them three times that: clients give
	// up after five seconds.
	upstreamTimeout = 1500 * time.Millisecond
	// maxForwarding is how many questions may wait for upstreams; more are refused at once.
	maxForwarding = 2000
	// maxUDP is what fits through every network in one packet (the DNS flag day of 2020).
	maxUDP = 1232
)

// dialFunc opens a connection to an address with a port; network is udp or tcp.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dial is from this process's own network.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// upstreams are servers that are asked in turn, beginning with the one that answered last.
type upstreams struct {
	servers []string // addresses with ports
	dial    dialFunc
	first   atomic.Int32
}

// forwarder asks other servers.
//
// The same question is asked once at a time, whoever asks: a question that comes back here from an
// upstream waits for its own answer, so a loop costs one packet and a timeout instead of a storm.
type forwarder struct {
	one     singleflight.Group
	slots   chan struct{}
	timeout time.Duration // of one upstream
}

func newForwarder() *forwarder {
	return &forwarder{slots: make(chan struct{}, maxForwarding), timeout: upstreamTimeout}
}

// errFull says that too many questions wait already.
var errFull = errors.New("too many questions wait for upstreams")

// ask returns the answer of the first of the upstreams that has one, which belongs to the caller. m
// has one question.
func (f *forwarder) ask(ctx context.Context, m *dns.Msg, to *upstreams) (*dns.Msg, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil, errFull
	}
	ask := question(m)
	opt := ask.IsEdns0()
	key := fmt.Sprintf("%p %s %d %t %t %t", to, strings.ToLower(ask.Question[0].Name), ask.Question[0].Qtype, ask.CheckingDisabled, opt != nil, opt != nil && opt.Do())
	answer, err, _ := f.one.Do(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, 3*f.timeout)
		defer cancel()
		return f.askAll(ctx, ask, to)
	})
	if err != nil {
		return nil, err
	}
	return answer.(*dns.Msg).Copy(), nil
}

// question is what a client asked, without what is between it and us: its number, cookies, keys.
func question(m *dns.Msg) *dns.Msg {
	ask := new(dns.Msg).SetQuestion(m.Question[0].Name, m.Question[0].Qtype)
	ask.CheckingDisabled, ask.AuthenticatedData = m.CheckingDisabled, m.AuthenticatedData
	if opt := m.IsEdns0(); opt != nil {
		ask.SetEdns0(maxUDP, opt.Do())
	}
	return ask
}

// askAll asks in turn. A server that fails or refuses is passed over; what it said is the answer if
// no other says more.
func (f *forwarder) askAll(ctx context.Context, ask *dns.Msg, to *upstreams) (*dns.Msg, error) {
	var last *dns.Msg
	errs := []error{errors.New("no upstream has answered")}
	from := int(to.first.Load())
	for i := range to.servers {
		n := (from + i) % len(to.servers)
		answer, err := f.askOne(ctx, ask, to, to.servers[n])
		switch {
		case err != nil:
			klog.FromContext(ctx).V(2).Info("An upstream DNS server does not answer", "upstream", to.servers[n], "err", err)
			errs = append(errs, err)
		case answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused || answer.Rcode == dns.RcodeNotImplemented:
			last = answer
		default:
			to.first.Store(int32(n))
			return answer, nil
		}
	}
	if last == nil {
		return nil, errors.Join(errs...)
	}
	return last, nil
}

// askOne asks over UDP, and over TCP what is too long for it.
func (f *forwarder) askOne(ctx context.Context, ask *dns.Msg, to *upstreams, server string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	short, err := exchange(ctx, ask, to.dial, "udp", server)
	if err != nil || !short.Truncated {
		return short, err
	}
	if long, err := exchange(ctx, ask, to.dial, "tcp", server); err == nil {
		return long, nil
	}
	return short, nil // it says itself that it is not all
}

// exchange sends one question from a port of its own and returns the answer to exactly that.
func exchange(ctx context.Context, m *dns.Msg, dial dialFunc, network, server string) (*dns.Msg, error) {
	ask := *m
	ask.Id = uint16(rand.Uint32())
	conn, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c := dns.Conn{Conn: conn, UDPSize: dns.DefaultMsgSize}
	if err := c.WriteMsg(&ask); err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	for {
		raw, err := c.ReadMsgHeader(nil)
		if errors.Is(err, dns.ErrShortRead) {
			continue // no message at all
		}
		if err != nil {
			return nil, fmt.Errorf("wait for %s: %w", server, err)
		}
		answer := new(dns.Msg)
		err = answer.Unpack(raw)
		switch {
		case !isAnswer(&ask, answer): // somebody guesses, or it comes late
		case err == nil || answer.Truncated: // where it was cut need not be between two records
			return answer, nil
		default:
			return nil, fmt.Errorf("read the answer of %s: %w", server, err)
		}
	}
}

// isAnswer tells whether a message answers what was asked.
func isAnswer(ask, m *dns.Msg) bool {
	if !m.Response || m.Id != ask.Id || m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 {
		return false
	}
	q, asked := m.Question[0], ask.Question[0]
	return strings.EqualFold(q.Name, asked.Name) && q.Qtype == asked.Qtype && q.Qclass == asked.Qclass
}

// relay is an upstream's answer as the answer to a client's message: without what is between that
// server and us.
func relay(m, answer *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(m)
	reply.RecursionAvailable, reply.AuthenticatedData, reply.Truncated = true, answer.AuthenticatedData, answer.Truncated
	reply.Rcode = answer.Rcode
	if reply.Rcode > 0xF { // speaks of the message between us
		reply.Rcode = dns.RcodeServerFailure
	}
	reply.Answer, reply.Ns = keep(answer.Answer), keep(answer.Ns)
	reply.Extra = keep(answer.Extra)
	return reply
}

// keep leaves out records that belong to one message only.
func keep(list []dns.RR) (out []dns.RR) {
	for _, rr := range list {
		switch rr.Header().Rrtype {
		case dns.TypeOPT, dns.TypeTSIG, dns.TypeSIG:
		default:
			out = append(out, rr)
		}
	}
	return out
}
