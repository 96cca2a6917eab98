package apiserver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/etcd"
)

// allocatorMetrics are what upstream's allocators report, under the same names (B6.15). The gauges
// are read from the space when they are scraped, so they are right from the first scrape on.
type allocatorMetrics struct {
	space                 *clusterip.Space
	total, failed         *prometheus.CounterVec // by cidr and scope
	duration              *prometheus.HistogramVec
	portTotal, portFailed *prometheus.CounterVec // by scope
	findings              prometheus.Gauge       // of the last audit
}

const (
	ipMetrics   = "kube_apiserver_clusterip_allocator_"
	portMetrics = "kube_apiserver_nodeport_allocator_"
)

var (
	allocatedIPs   = prometheus.NewDesc(ipMetrics+"allocated_ips", "Gauge measuring the number of allocated IPs for Services", []string{"cidr"}, nil)
	availableIPs   = prometheus.NewDesc(ipMetrics+"available_ips", "Gauge measuring the number of available IPs for Services", []string{"cidr"}, nil)
	allocatedPorts = prometheus.NewDesc(portMetrics+"allocated_ports", "Gauge measuring the number of allocated NodePorts for Services", nil, nil)
	availablePorts = prometheus.NewDesc(portMetrics+"available_ports", "Gauge measuring the number of available NodePorts for Services", nil, nil)
)

func newAllocatorMetrics(space *clusterip.Space) *allocatorMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &allocatorMetrics{
		space:  space,
		total:  counter(ipMetrics+"allocation_total", "Number of Cluster IPs allocations", "cidr", "scope"),
		failed: counter(ipMetrics+"allocation_errors_total", "Number of errors trying to allocate Cluster IPs", "cidr", "scope"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: ipMetrics + "allocation_duration_seconds", Help: "Duration in seconds from planning a Service's addresses to having them stored",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"cidr"}),
		portTotal:  counter(portMetrics+"allocation_total", "Number of NodePort allocations", "scope"),
		findings:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "duet_claim_findings", Help: "What the last audit found to disagree between Services and their addresses and node ports; always 0"}),
		portFailed: counter(portMetrics+"allocation_errors_total", "Number of errors trying to allocate NodePort", "scope"),
	}
}

// register makes m what /metrics reports, in place of another server's in this process.
func (m *allocatorMetrics) register() error {
	registry := legacyregistry.Registerer()
	err := registry.Register(m)
	if taken := (prometheus.AlreadyRegisteredError{}); errors.As(err, &taken) {
		registry.Unregister(taken.ExistingCollector)
		err = registry.Register(m)
	}
	return err
}

func (m *allocatorMetrics) vectors() []prometheus.Collector {
	return []prometheus.Collector{m.total, m.failed, m.duration, m.portTotal, m.portFailed, m.findings}
}

// Describe names all metrics.
func (m *allocatorMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, v := range m.vectors() {
		v.Describe(out)
	}
	for _, d := range []*prometheus.Desc{allocatedIPs, availableIPs, allocatedPorts, availablePorts} {
		out <- d
	}
}

// Collect reports counters and reads the gauges from the space. Ranges that several ServiceCIDRs
// have are one range.
func (m *allocatorMetrics) Collect(out chan<- prometheus.Metric) {
	for _, v := range m.vectors() {
		v.Collect(out)
	}
	seen := map[string]bool{}
	for _, u := range m.space.Usage() {
		if cidr := u.Prefix.String(); !seen[cidr] {
			seen[cidr] = true
			out <- prometheus.MustNewConstMetric(allocatedIPs, prometheus.GaugeValue, float64(u.Used), cidr)
			out <- prometheus.MustNewConstMetric(availableIPs, prometheus.GaugeValue, float64(u.Free), cidr)
		}
	}
	used, total := m.space.PortUsage()
	out <- prometheus.MustNewConstMetric(allocatedPorts, prometheus.GaugeValue, float64(used))
	out <- prometheus.MustNewConstMetric(availablePorts, prometheus.GaugeValue, float64(total-used))
}

// wish remembers through one request what its client asked for, to tell static allocations from
// dynamic ones when they have been stored.
type wish struct {
	since time.Time
	svc   *corev1.Service
}

type wishKey struct{}

func withWish(ctx context.Context) context.Context {
	return context.WithValue(ctx, wishKey{}, &wish{since: time.Now()})
}

// remember notes what the client sent, before it is planned.
func remember(ctx context.Context, svc *corev1.Service) {
	if w, ok := ctx.Value(wishKey{}).(*wish); ok {
		w.svc = svc
	}
}

// scope says whether the client named a claim: "static", or left it to the server: "dynamic".
func (w *wish) scope(c clusterip.Change) string {
	if w.svc != nil {
		addrs, ports := clusterip.Claims(w.svc)
		if slices.Contains(addrs, c.Addr) {
			return "static"
		}
		if slices.Contains(ports, c.Port) {
			return "static"
		}
	}
	return "dynamic"
}

// stored counts the claims of a transaction that was applied.
func (m *allocatorMetrics) stored(ctx context.Context, batch *etcd.Batch) {
	w, ok := ctx.Value(wishKey{}).(*wish)
	if !ok || !batch.Applied {
		return
	}
	for _, p := range batch.Puts {
		for _, c := range change(p.Key, true) {
			if c.Port != 0 {
				m.portTotal.WithLabelValues(w.scope(c)).Inc()
				continue
			}
			cidr := m.cidr(c)
			m.total.WithLabelValues(cidr, w.scope(c)).Inc()
			m.duration.WithLabelValues(cidr).Observe(time.Since(w.since).Seconds())
		}
	}
}

// refused counts a plan that failed for want of an address or port.
func (m *allocatorMetrics) refused(asked *corev1.Service, err error) {
	switch {
	case clusterip.FullDetail(err) != "" && strings.Contains(err.Error(), "Port"):
		m.portFailed.WithLabelValues("dynamic").Inc()
	case clusterip.FullDetail(err) != "":
		for _, u := range m.space.Usage() {
			if u.Ready && u.Free == 0 {
				m.failed.WithLabelValues(u.Prefix.String(), "dynamic").Inc()
			}
		}
	default:
		var status *apierrors.StatusError
		if !errors.As(err, &status) || status.ErrStatus.Details == nil {
			return
		}
		for _, cause := range status.ErrStatus.Details.Causes {
			if !strings.Contains(cause.Message, "already allocated") && !strings.Contains(cause.Message, "failed to allocate") {
				continue
			}
			if strings.HasPrefix(cause.Field, "spec.ports") {
				m.portFailed.WithLabelValues("static").Inc()
				continue
			}
			addrs, _ := clusterip.Claims(asked)
			for _, addr := range addrs {
				m.failed.WithLabelValues(m.cidr(clusterip.Change{Addr: addr}), "static").Inc()
			}
		}
	}
}

// cidr is the range an address counts for, "" if it is in none.
func (m *allocatorMetrics) cidr(c clusterip.Change) string {
	for _, u := range m.space.Usage() {
		if u.Prefix.Contains(c.Addr) {
			return u.Prefix.String()
		}
	}
	return ""
}
