package dns

import (
	"errors"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of all answers: duet_dns_responses_total and duet_dns_request_duration_seconds.
type metrics struct {
	responses *prometheus.CounterVec   // by proto, type, rcode and by (who knew)
	duration  *prometheus.HistogramVec // by by
}

func newMetrics() *metrics {
	return &metrics{
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_dns_responses_total", Help: "Answers of cluster DNS by transport, type of the question (A, AAAA, PTR, SRV or other), response code, and who knew: the cluster or an upstream (forward)",
		}, []string{"proto", "type", "rcode", "by"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "duet_dns_request_duration_seconds", Help: "Duration in seconds from a question's arrival until its answer is ready, by who knew",
			Buckets: prometheus.ExponentialBuckets(0.00001, 4, 11), // 10 us to 10 s
		}, []string{"by"}),
	}
}

// register makes m what a registry reports, in place of another server's in this process.
func (m *metrics) register(registry prometheus.Registerer) error {
	if registry == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.responses, m.duration} {
		err := registry.Register(c)
		if taken := (prometheus.AlreadyRegisteredError{}); errors.As(err, &taken) {
			registry.Unregister(taken.ExistingCollector)
			err = registry.Register(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// kinds are the types that are counted apart: nobody can make more of them by asking.
var kinds = map[uint16]string{dns.TypeA: "A", dns.TypeAAAA: "AAAA", dns.TypePTR: "PTR", dns.TypeSRV: "SRV"}

func (m *metrics) count(proto string, asked, reply *dns.Msg, by string, took time.Duration) {
	kind := "other"
	if len(asked.Question) == 1 && kinds[asked.Question[0].Qtype] != "" {
		kind = kinds[asked.Question[0].Qtype]
	}
	m.responses.WithLabelValues(proto, kind, codeName(reply.Rcode), by).Inc()
	m.duration.WithLabelValues(by).Observe(took.Seconds())
}

// codeName is a response code in words. The library calls 16 by its name in signatures, of which we
// have none.
func codeName(code int) string {
	if code == dns.RcodeBadVers {
		return "BADVERS"
	}
	if name := dns.RcodeToString[code]; name != "" {
		return name
	}
	return "other"
}
