package health

import (
	"errors"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestGauge: each step is what happens at a second, and whether the proxy is healthy right after it.
func TestGauge(t *testing.T) {
	failed := errors.New("no")
	type step struct {
		at      int
		change  bool
		sync    int // when the attempt began that ends now; -1: none
		err     error
		healthy bool
		updated int // what is said if unhealthy
	}
	for name, steps := range map[string][]step{
		"nothing has happened": {{at: 1000, sync: -1, healthy: true}},
		"written":              {{at: 1, change: true, sync: -1, healthy: true}, {at: 3, sync: 2, healthy: true}, {at: 1000, sync: -1, healthy: true}},
		"never written":        {{at: 1, change: true, sync: -1, healthy: true}, {at: 61, sync: -1, healthy: true}, {at: 62, sync: -1}},
		"refused":              {{at: 1, change: true, sync: -1, healthy: true}, {at: 50, sync: 49, err: failed, healthy: true}, {at: 62, sync: -1}},
		"refused, then written": {
			{at: 1, change: true, sync: -1, healthy: true}, {at: 70, sync: 69, err: failed}, {at: 80, sync: 79, healthy: true}, {at: 1000, sync: -1, healthy: true},
		},
		"written once, then never": {
			{at: 1, change: true, sync: -1, healthy: true}, {at: 3, sync: 2, healthy: true}, {at: 100, change: true, sync: -1, healthy: true}, {at: 161, sync: -1, updated: 3},
		},
		"a change while writing": {
			{at: 1, change: true, sync: -1, healthy: true},
			{at: 40, change: true, sync: -1, healthy: true},
			{at: 50, sync: 30, healthy: true},
			{at: 100, sync: -1, healthy: true},
			{at: 101, sync: -1, updated: 50},
		},
		"a repair that is refused": {
			{at: 3, sync: 2, healthy: true},
			{at: 10, sync: 9, err: failed, healthy: true},
			{at: 69, sync: -1, healthy: true},
			{at: 70, sync: -1, updated: 3},
			{at: 80, sync: 79, healthy: true},
		},
		"many changes, none written": {{at: 1, change: true, sync: -1, healthy: true}, {at: 40, change: true, sync: -1, healthy: true}, {at: 62, sync: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGauge()
			begin := time.Unix(1000, 0)
			second := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }
			for _, s := range steps {
				g.now = func() time.Time { return second(s.at) }
				if s.change {
					g.ServiceChanged()
				}
				if s.sync >= 0 {
					g.Synced(second(s.sync), 1, s.err)
				}
				healthy, updated := g.state(g.now())
				if healthy != s.healthy {
					t.Fatalf("at %d: healthy %t", s.at, healthy)
				}
				switch {
				case healthy && !updated.Equal(second(s.at)):
					t.Errorf("at %d: updated %s though healthy", s.at, updated)
				case !healthy && s.updated == 0 && !updated.IsZero(), !healthy && s.updated != 0 && !updated.Equal(second(s.updated)):
					t.Errorf("at %d: updated %s", s.at, updated)
				}
			}
		})
	}
}

// TestProgrammingLatency: a change counts once, from when it came about until it is written.
func TestProgrammingLatency(t *testing.T) {
	g := NewGauge()
	slice := func(at time.Time) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: at.Format(time.RFC3339Nano)}}}
	}
	first, second := g.started.Add(time.Second), g.started.Add(2*time.Second)
	g.now = func() time.Time { return g.started.Add(5 * time.Second) }
	g.SliceChanged(nil, slice(g.started.Add(-time.Hour))) // before the proxy
	g.SliceChanged(nil, &discoveryv1.EndpointSlice{})     // nobody says when
	g.SliceChanged(nil, slice(first))
	g.Synced(g.started, 0, errors.New("not written"))
	g.Synced(g.now(), 7, nil)
	g.SliceChanged(slice(first), slice(first)) // labels, say
	g.SliceChanged(slice(first), slice(second))
	g.SliceChanged(slice(second), nil)
	g.Synced(g.now(), 8, nil)
	got := gather(t, g)
	h := got["kubeproxy_network_programming_duration_seconds"].GetHistogram()
	if h.GetSampleCount() != 2 || h.GetSampleSum() != 7 {
		t.Errorf("%d changes took %v s, want 2 and 7", h.GetSampleCount(), h.GetSampleSum())
	}
	for name, want := range map[string]float64{
		"kubeproxy_sync_proxy_rules_endpoint_changes_total":        6,
		"kubeproxy_sync_proxy_rules_nftables_sync_failures_total":  1,
		"kubeproxy_sync_proxy_rules_last_timestamp_seconds":        seconds(g.now()),
		"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds": seconds(g.now()),
		"duet_proxy_elements": 8,
	} {
		if m := got[name]; m.GetCounter().GetValue()+m.GetGauge().GetValue() != want {
			t.Errorf("%s: got %v, want %v", name, m, want)
		}
	}
	if n := got["kubeproxy_sync_proxy_rules_duration_seconds"].GetHistogram().GetSampleCount(); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
}

func gather(t *testing.T, g *Gauge) map[string]*dto.Metric {
	t.Helper()
	families, err := g.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.Metric{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "kubeproxy_") && !strings.HasPrefix(f.GetName(), "duet_") {
			t.Errorf("metric %s", f.GetName())
		}
		out[f.GetName()] = f.GetMetric()[0]
	}
	return out
}

// A change that comes while another is written counts when it is written itself; while nothing can be
// written only so many are remembered.
func TestProgrammingLatencyWaits(t *testing.T) {
	g := NewGauge()
	at := func(n int) time.Time { return g.started.Add(time.Duration(n) * time.Second) }
	change := func(n int) {
		g.now = func() time.Time { return at(n) }
		g.SliceChanged(nil, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			corev1.EndpointsLastChangeTriggerTime: at(n).Format(time.RFC3339Nano),
		}}})
	}
	change(2)
	g.Synced(at(1), 0, nil) // began before
	g.now = func() time.Time { return at(6) }
	g.Synced(at(3), 0, nil)
	if h := gather(t, g)["kubeproxy_network_programming_duration_seconds"].GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() != 4 {
		t.Errorf("%d changes took %v s, want 1 and 4", h.GetSampleCount(), h.GetSampleSum())
	}
	for range 2 * maxTriggers {
		change(7)
		g.Synced(at(7), 0, errors.New("no"))
	}
	if n := len(g.triggers); n > maxTriggers {
		t.Errorf("%d changes are remembered", n)
	}
}
