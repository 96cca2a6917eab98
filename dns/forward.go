package dns

import (
	"context"
	"time"

	"github.com/miekg/dns"
	"k8s.io/klog/v2"
)

// upstreamTimeout is how long one upstream may take; clients give up after five seconds.
const upstreamTimeout = 2 * time.Second

// forward asks the upstreams in turn until one answers, over TCP when the answer is too long for UDP.
func (s *Server) forward(ctx context.Context, m *dns.Msg) *dns.Msg {
	ask := m.Copy()
	ask.RecursionDesired = true
	for _, at := range s.config.Upstreams {
		for _, network := range []string{"udp", "tcp"} {
			client := dns.Client{Net: network, Timeout: upstreamTimeout}
			answer, _, err := client.ExchangeContext(ctx, ask, at.String())
			if err != nil {
				klog.FromContext(ctx).V(2).Info("An upstream DNS server does not answer", "upstream", at, "err", err)
				break
			}
			if !answer.Truncated || network == "tcp" {
				answer.Id, answer.RecursionAvailable = m.Id, true
				return answer
			}
		}
	}
	return new(dns.Msg).SetRcode(m, dns.RcodeServerFailure)
}
