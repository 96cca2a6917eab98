package health

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// staleAfter is for how long a change may wait to be written before the proxy counts as unhealthy:
// twice upstream's sync period.
const staleAfter = time.Minute

// maxTriggers is how many changes that are not written are remembered, to measure how long they took.
const maxTriggers = 10_000

// Gauge measures how the proxy keeps up with the API. It is a proxy.Observer.
type Gauge struct {
	started time.Time
	now     func() time.Time
	metrics metrics

	mu       sync.Mutex
	queued   time.Time // of the oldest change that is not written, zero if none
	newest   time.Time // change
	written  time.Time // when all was written last
	triggers []change
}

// change of a slice.
type change struct{ caused, seen time.Time }

// NewGauge returns one that has seen nothing yet.
func NewGauge() *Gauge {
	return &Gauge{started: time.Now(), now: time.Now, metrics: newMetrics()}
}

// ServiceChanged is called before the proxy marks a Service.
func (g *Gauge) ServiceChanged() {
	g.metrics.services.Inc()
	g.changed()
}

// SliceChanged is called before the proxy marks the Service of a slice, old or now nil for one that came
// or went.
func (g *Gauge) SliceChanged(old, now *discoveryv1.EndpointSlice) {
	g.metrics.slices.Inc()
	if at := trigger(now); !at.IsZero() && !at.Equal(trigger(old)) && at.After(g.started) {
		g.mu.Lock()
		if len(g.triggers) < maxTriggers {
			g.triggers = append(g.triggers, change{at, g.now()})
		}
		g.mu.Unlock()
	}
	g.changed()
}

// trigger is when what a slice says came about, zero if it does not tell.
func trigger(s *discoveryv1.EndpointSlice) time.Time {
	if s == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, s.Annotations[corev1.EndpointsLastChangeTriggerTime])
	if err != nil {
		return time.Time{}
	}
	return at
}

func (g *Gauge) changed() {
	now := g.now()
	g.metrics.lastQueued.Set(seconds(now))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.newest = now
	if g.queued.IsZero() {
		g.queued = now
	}
}

// Synced is called when the proxy has tried to write all that it knew at a time; elements is how many
// there are in its table.
func (g *Gauge) Synced(began time.Time, elements int, err error) {
	now := g.now()
	g.metrics.elements.Set(float64(elements))
	g.metrics.duration.Observe(now.Sub(began).Seconds())
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.metrics.failures.Inc()
		if g.queued.IsZero() { // what is to be written is no change of the API's, but of the machine's
			g.queued = began
		}
		return
	}
	g.metrics.lastSynced.Set(seconds(now))
	g.written, g.queued = now, time.Time{}
	if g.newest.After(began) {
		g.queued = g.newest // there will be another call
	}
	waiting := g.triggers[:0]
	for _, c := range g.triggers {
		if c.seen.After(began) { // there will be another call for this one, too
			waiting = append(waiting, c)
		} else {
			g.metrics.programming.Observe(now.Sub(c.caused).Seconds())
		}
	}
	g.triggers = waiting
}

// state tells whether the proxy keeps up now, and when it last had nothing to write: that is now, too,
// if it keeps up, as upstream's answers have it.
func (g *Gauge) state(now time.Time) (healthy bool, lastUpdated time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queued.IsZero() || now.Sub(g.queued) <= staleAfter {
		return true, now
	}
	return false, g.written
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// metrics have upstream's names. Both families are written in one transaction, so there is no label
// for the family.
type metrics struct {
	registry              *prometheus.Registry
	duration              prometheus.Histogram
	programming           prometheus.Histogram
	lastSynced            prometheus.Gauge
	lastQueued            prometheus.Gauge
	failures              prometheus.Counter
	services, slices      prometheus.Counter
	healthPorts, elements prometheus.Gauge
}

func newMetrics() metrics {
	const sync = "kubeproxy_sync_proxy_rules_"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: sync + "duration_seconds", Help: "How long it took to bring the rules up to date, in seconds",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18),
		}),
		programming: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubeproxy_network_programming_duration_seconds", Help: "From a change of a Pod or Service until the rules show it, in seconds",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
		}),
		lastSynced:  gauge(sync+"last_timestamp_seconds", "When the rules were last brought up to date"),
		lastQueued:  gauge(sync+"last_queued_timestamp_seconds", "When a change was last seen"),
		failures:    counter(sync+"nftables_sync_failures_total", "How often the kernel or the machine refused a change"),
		services:    counter(sync+"service_changes_total", "Changes of Services seen"),
		slices:      counter(sync+"endpoint_changes_total", "Changes of EndpointSlices seen"),
		elements:    gauge("duet_proxy_elements", "Entries of the proxy's table, of all Services"),
		healthPorts: gauge("duet_proxy_health_check_ports", "Sockets open for health checks, the proxy's own included"),
	}
	m.registry.MustRegister(m.duration, m.programming, m.lastSynced, m.lastQueued, m.failures, m.services, m.slices, m.elements, m.healthPorts)
	return m
}
