package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/duetk8s/duet/clusterip"
)

// AuditPath answers a GET of an administrator with the findings of the audit, as a JSON list.
const AuditPath = "/duet/audit"

// Audit reads Services, IPAddresses, ServiceCIDRs and claims of node ports from etcd at one revision
// and returns what disagrees: nothing, unless somebody edited etcd by hand or duet has a bug (B7).
// It costs a list of each; the number of findings stays in a metric.
func (s *Server) Audit(ctx context.Context) ([]clusterip.Finding, error) {
	cluster := clusterip.Cluster{NodePorts: s.nodePorts}
	var revision int64
	read := func(prefix string, take func(name string, value []byte, revision int64) error) error {
		resp, err := s.backend.client.Client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(revision))
		if err != nil {
			return fmt.Errorf("audit: list %s: %w", prefix, err)
		}
		revision = resp.Header.Revision
		for _, kv := range resp.Kvs {
			name := strings.TrimPrefix(string(kv.Key), prefix)
			if err := take(name, kv.Value, kv.ModRevision); err != nil {
				return fmt.Errorf("audit: %s: %w", kv.Key, err)
			}
		}
		return nil
	}
	for _, list := range []struct {
		prefix string
		take   func(name string, value []byte, revision int64) error
	}{
		{servicePrefix, func(_ string, value []byte, _ int64) error {
			svc := &corev1.Service{}
			cluster.Services = append(cluster.Services, svc)
			return decodeInto(s.codecs[servicesResource], value, svc)
		}},
		{addressPrefix, func(_ string, value []byte, _ int64) error {
			address := &networkingv1.IPAddress{}
			cluster.Addresses = append(cluster.Addresses, address)
			return decodeInto(s.codecs[addressesResource], value, address)
		}},
		{rangePrefix, func(_ string, value []byte, revision int64) error {
			cidr := &networkingv1.ServiceCIDR{}
			err := decodeInto(s.codecs[rangesResource], value, cidr)
			cluster.Ranges = append(cluster.Ranges, rangeOf(cidr, revision))
			return err
		}},
		{nodePortPrefix, func(name string, value []byte, _ int64) error {
			var claim portClaim
			err := json.Unmarshal(value, &claim)
			for _, c := range change(nodePortPrefix+name, true) {
				cluster.Ports = append(cluster.Ports, clusterip.PortClaim{Port: c.Port, Service: claim.Namespace + "/" + claim.Name})
			}
			return err
		}},
	} {
		if err := read(list.prefix, list.take); err != nil {
			return nil, err
		}
	}
	findings := clusterip.Audit(cluster)
	s.allocator.metrics.findings.Set(float64(len(findings)))
	return findings, nil
}

func decodeInto(codec runtime.Codec, value []byte, obj runtime.Object) error {
	_, _, err := codec.Decode(value, nil, obj)
	return err
}

// serveAudit is the handler of AuditPath.
func (s *Server) serveAudit(w http.ResponseWriter, r *http.Request) {
	findings, err := s.Audit(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(append([]clusterip.Finding{}, findings...)) // the client may have gone
}
