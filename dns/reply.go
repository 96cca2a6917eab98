package dns

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/miekg/dns"
	"k8s.io/klog/v2"
)

// handle answers one message.
func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) {
	begun := time.Now()
	reply, by := s.reply(ctx, m)
	proto, size := "tcp", dns.MaxMsgSize
	opt := m.IsEdns0()
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		proto, size = "udp", dns.MinMsgSize
		if opt != nil {
			size = max(size, min(int(opt.UDPSize()), maxUDP))
		}
	}
	if opt != nil {
		reply.SetEdns0(maxUDP, opt.Do())
	}
	reply.Truncate(size)
	packed, err := reply.Pack()
	if err != nil { // an upstream has said what cannot be said again
		klog.FromContext(ctx).V(2).Info("Cannot pass an answer on", "question", m.Question, "err", err)
		reply = new(dns.Msg).SetRcode(m, dns.RcodeServerFailure)
		if packed, err = reply.Pack(); err != nil {
			return
		}
	}
	s.metrics.count(proto, m, reply, by, time.Since(begun))
	_, _ = w.Write(packed) // the client is gone
}

// Who knew an answer, as metrics tell it.
const (
	byCluster = "cluster"
	byForward = "forward"
)

// reply makes the answer to a message, and says who knew it.
func (s *Server) reply(ctx context.Context, m *dns.Msg) (reply *dns.Msg, by string) {
	if code := refusal(m); code != dns.RcodeSuccess {
		return new(dns.Msg).SetRcode(m, code), byCluster
	}
	q, routes := m.Question[0], s.routes()
	a := s.zone.Answer(q, s.source)
	if !a.Ours {
		by = byForward
		if routes.find(q.Name) == nil {
			by = byCluster
		}
		return s.elsewhere(ctx, m, routes), by
	}
	reply = new(dns.Msg).SetReply(m)
	reply.Authoritative, reply.RecursionAvailable = true, routes.others != nil
	reply.Rcode, reply.Answer, reply.Ns, reply.Extra = a.Code, a.Answers, a.Authority, a.Extra
	if a.Outside != "" {
		if routes.find(a.Outside) == nil {
			return reply, byCluster
		}
		ask := m.Copy()
		ask.Question[0].Name = a.Outside
		beyond := s.elsewhere(ctx, ask, routes)
		reply.Rcode, reply.Answer, reply.Truncated = beyond.Rcode, append(reply.Answer, beyond.Answer...), beyond.Truncated
		return reply, byForward
	}
	if len(reply.Answer) > 0 && reply.Answer[0].Header().Rrtype != dns.TypeCNAME { // its order counts
		rand.Shuffle(len(reply.Answer), func(i, j int) { reply.Answer[i], reply.Answer[j] = reply.Answer[j], reply.Answer[i] })
	}
	return reply, byCluster
}

// refusal is why a message gets no answer, RcodeSuccess if it does.
func refusal(m *dns.Msg) int {
	if m.Opcode != dns.OpcodeQuery {
		return dns.RcodeNotImplemented
	}
	if m.Response || len(m.Question) != 1 {
		return dns.RcodeFormatError
	}
	if opt := m.IsEdns0(); opt != nil && opt.Version() != 0 {
		return dns.RcodeBadVers
	}
	switch q := m.Question[0]; {
	case q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR: // the list of all that is in the cluster
		return dns.RcodeRefused
	case q.Qclass != dns.ClassINET:
		return dns.RcodeNotImplemented
	}
	return dns.RcodeSuccess
}

// elsewhere asks those who know the name. With nobody to ask there is no such name.
func (s *Server) elsewhere(ctx context.Context, m *dns.Msg, routes *routes) *dns.Msg {
	to := routes.find(m.Question[0].Name)
	if to == nil {
		return new(dns.Msg).SetRcode(m, dns.RcodeNameError)
	}
	answer, err := s.forwarder.ask(ctx, m, to)
	if err != nil {
		klog.FromContext(ctx).V(2).Info("No answer from elsewhere", "question", m.Question[0].Name, "err", err)
		reply := new(dns.Msg).SetRcode(m, dns.RcodeServerFailure)
		reply.RecursionAvailable = true
		return reply
	}
	return relay(m, answer)
}
