package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/etcd"
)

// disk is what a dead server left, at one revision of etcd.
type disk struct {
	services  map[string]*corev1.Service // by namespace/name
	addresses []*networkingv1.IPAddress
	ranges    map[string]*networkingv1.ServiceCIDR
	ports     []clusterip.PortClaim
}

// readDisk reads a copy of the dead server's etcd, so that the next server finds the files as the
// crash left them.
func readDisk(t *testing.T, dataDir string) disk {
	t.Helper()
	dir := t.TempDir()
	if err := copyTree(filepath.Join(dataDir, "etcd"), dir); err != nil {
		t.Fatal(err)
	}
	member, err := etcd.Start(t.Context(), dir)
	if err != nil {
		t.Fatal("start etcd on what the crash left: ", err)
	}
	defer member.Close()
	d := disk{services: map[string]*corev1.Service{}, ranges: map[string]*networkingv1.ServiceCIDR{}}
	if err := d.read(t.Context(), member.Client().Client); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *disk) read(ctx context.Context, client *clientv3.Client) error {
	prefixes := []string{"/registry/services/specs/", "/registry/ipaddresses/", "/registry/servicecidrs/", "/duet/nodeports/"}
	gets := make([]clientv3.Op, 0, len(prefixes))
	for _, p := range prefixes {
		gets = append(gets, clientv3.OpGet(p, clientv3.WithPrefix()))
	}
	resp, err := client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return err
	}
	for i, p := range prefixes {
		for _, kv := range resp.Responses[i].GetResponseRange().Kvs {
			if err := d.add(p, kv); err != nil {
				return fmt.Errorf("%s: %w", kv.Key, err)
			}
		}
	}
	return nil
}

func (d *disk) add(prefix string, kv *mvccpb.KeyValue) error {
	name := strings.TrimPrefix(string(kv.Key), prefix)
	if prefix == "/duet/nodeports/" {
		var owner struct{ Namespace, Name string }
		port, err := strconv.ParseInt(name, 10, 32)
		if err == nil {
			err = json.Unmarshal(kv.Value, &owner)
		}
		d.ports = append(d.ports, clusterip.PortClaim{Port: int32(port), Service: owner.Namespace + "/" + owner.Name})
		return err
	}
	obj, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), kv.Value)
	if err != nil {
		return err
	}
	switch obj := obj.(type) {
	case *corev1.Service:
		obj.ResourceVersion = strconv.FormatInt(kv.ModRevision, 10)
		d.services[name] = obj
	case *networkingv1.IPAddress:
		d.addresses = append(d.addresses, obj)
		if obj.Name != name {
			return fmt.Errorf("is named %s", obj.Name)
		}
	case *networkingv1.ServiceCIDR:
		d.ranges[name] = obj
	default:
		return fmt.Errorf("is a %T", obj)
	}
	return nil
}

// disagreements counts by hand, and then asks the audit that `duet status` asks.
func (d *disk) disagreements() (found []string) {
	wantAddrs, wantPorts, addrs, ports := map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	claim := func(kind string, claims map[string]string, key, owner string) {
		if other, ok := claims[key]; ok {
			found = append(found, fmt.Sprintf("%s %s is held twice, by %s and by %s", kind, key, other, owner))
		}
		claims[key] = owner
	}
	for _, name := range slices.Sorted(maps.Keys(d.services)) {
		svc := d.services[name]
		for _, a := range svc.Spec.ClusterIPs {
			if a != corev1.ClusterIPNone {
				claim("address", wantAddrs, a, name)
			}
		}
		for p := range portsOf(svc) {
			claim("node port", wantPorts, p, name)
		}
	}
	for _, ip := range d.addresses {
		claim("IPAddress", addrs, ip.Name, ip.Spec.ParentRef.Namespace+"/"+ip.Spec.ParentRef.Name)
	}
	for _, p := range d.ports {
		claim("claim", ports, fmt.Sprint(p.Port), p.Service)
	}
	found = append(found, differences("address", wantAddrs, addrs)...)
	found = append(found, differences("node port", wantPorts, ports)...)
	for _, f := range clusterip.Audit(d.cluster()) {
		found = append(found, fmt.Sprintf("audit: %s %s: %s", f.Rule, f.Object, f.Message))
	}
	return found
}

// differences between what Services have and what is claimed; values are the Services' names.
func differences(kind string, services, claims map[string]string) (found []string) {
	for key, name := range services {
		if claims[key] != name {
			found = append(found, fmt.Sprintf("%s %s of Service %s is claimed by %q", kind, key, name, claims[key]))
		}
	}
	for key, name := range claims {
		if _, ok := services[key]; !ok {
			found = append(found, fmt.Sprintf("%s %s is claimed by %s, no Service has it", kind, key, name))
		}
	}
	return found
}

// portsOf are the node ports of a Service, those for health checks too; on ExternalName they are
// only ink (A5.9).
func portsOf(svc *corev1.Service) map[string]bool {
	ports := map[string]bool{}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return ports
	}
	for _, p := range svc.Spec.Ports {
		ports[fmt.Sprint(p.NodePort)] = true
	}
	ports[fmt.Sprint(svc.Spec.HealthCheckNodePort)] = true
	delete(ports, "0")
	return ports
}

func (d *disk) cluster() clusterip.Cluster {
	c := clusterip.Cluster{Services: slices.Collect(maps.Values(d.services)), Addresses: d.addresses, Ports: d.ports}
	c.NodePorts, _ = clusterip.ParsePortRange(nodePorts)
	for name, s := range d.ranges {
		r := clusterip.Range{Name: name}
		for _, cidr := range s.Spec.CIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				r.Prefixes = append(r.Prefixes, p)
			}
		}
		c.Ranges = append(c.Ranges, r)
	}
	return c
}

// copyTree copies regular files and folders, but for logs that etcd has not begun.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case strings.HasSuffix(path, ".tmp"):
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
