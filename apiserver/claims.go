package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/storage"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/etcd"
)

// Keys in etcd. Objects are where every Kubernetes keeps them (behaviour.md, B1.4); a node port
// has no object of its own, so its claim has a key outside /registry.
const (
	addressPrefix  = "/registry/ipaddresses/"
	rangePrefix    = "/registry/servicecidrs/"
	servicePrefix  = "/registry/services/specs/"
	nodePortPrefix = "/duet/nodeports/"
)

// errRetry is returned by a write whose addresses or ports were taken, or whose range went away,
// between planning and writing. The space knows better now: plan and write again.
var errRetry = errors.New("an address or node port of the plan was taken meanwhile")

// claimStorage sits between the watch cache and etcd for Services. It compares the old object with
// the new one on every write and lets the IPAddresses and node-port claims follow in the same
// transaction, whatever the reason of the write was: create, update, finalizer, status, deletion.
//
// # Guarantees
//
// At every revision of etcd: the IPAddresses labelled as managed are the clusterIPs of all
// Services, each once, and the keys below /duet/nodeports/ are their node ports, each once. No
// crash can part them. An address comes only from a ServiceCIDR that was ready at the very
// revision of the write.
type claimStorage struct {
	storage.Interface
	space   *clusterip.Space
	ranges  *rangeFeed
	codec   runtime.Codec // of IPAddress, as in its own store
	metrics *allocatorMetrics
}

// Create stores a Service and its claims. A conflict over claims is errRetry.
func (s *claimStorage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	batch := &etcd.Batch{}
	if err := s.fill(batch, &corev1.Service{}, obj.(*corev1.Service)); err != nil {
		return err
	}
	err := s.Interface.Create(etcd.Together(ctx, batch), key, obj, out, ttl)
	if s.learn(ctx, batch) {
		return errRetry
	}
	return err
}

// GuaranteedUpdate changes a Service and its claims. When claims conflict, etcd's store itself
// calls tryUpdate again, which plans again.
func (s *claimStorage) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	batch := &etcd.Batch{}
	err := s.Interface.GuaranteedUpdate(etcd.Together(ctx, batch), key, destination, ignoreNotFound, preconditions,
		func(existing runtime.Object, res storage.ResponseMeta) (runtime.Object, *uint64, error) {
			s.learn(ctx, batch)
			old := existing.DeepCopyObject().(*corev1.Service)
			updated, ttl, err := tryUpdate(existing, res)
			if err != nil {
				return nil, nil, err
			}
			return updated, ttl, s.fill(batch, old, updated.(*corev1.Service))
		}, cached)
	s.learn(ctx, batch)
	return err
}

// Delete removes a Service and all its claims.
func (s *claimStorage) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions,
) error {
	batch := &etcd.Batch{}
	err := s.Interface.Delete(etcd.Together(ctx, batch), key, out, preconditions, func(ctx context.Context, existing runtime.Object) error {
		if err := validate(ctx, existing); err != nil {
			return err
		}
		return s.fill(batch, existing.(*corev1.Service), &corev1.Service{})
	}, cached, opts)
	s.learn(ctx, batch)
	return err
}

// fill makes batch what turns the claims of old into those of svc.
func (s *claimStorage) fill(batch *etcd.Batch, old, svc *corev1.Service) error {
	*batch = etcd.Batch{}
	oldAddrs, oldPorts := clusterip.Claims(old)
	addrs, ports := clusterip.Claims(svc)
	for _, addr := range addrs {
		if slices.Contains(oldAddrs, addr) {
			continue
		}
		value, err := s.address(addr, svc)
		if err != nil {
			return err
		}
		batch.Puts = append(batch.Puts, etcd.Put{Key: addressPrefix + addr.String(), Value: value})
		from, ok := s.space.Guard(addr)
		if !ok {
			return errRetry
		}
		if guard := (etcd.Guard{Key: rangePrefix + from.Name, Revision: from.Revision}); !slices.Contains(batch.Guards, guard) {
			batch.Guards = append(batch.Guards, guard)
		}
	}
	for _, port := range ports {
		if !slices.Contains(oldPorts, port) {
			batch.Puts = append(batch.Puts, etcd.Put{Key: nodePortKey(port), Value: nodePortClaim(svc)})
		}
	}
	for _, addr := range oldAddrs {
		if !slices.Contains(addrs, addr) {
			batch.Deletes = append(batch.Deletes, addressPrefix+addr.String())
		}
	}
	for _, port := range oldPorts {
		if !slices.Contains(ports, port) {
			batch.Deletes = append(batch.Deletes, nodePortKey(port))
		}
	}
	return nil
}

// address encodes the IPAddress of svc as its own store would (B1.7, B6.12).
func (s *claimStorage) address(addr netip.Addr, svc *corev1.Service) ([]byte, error) {
	obj := &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name: addr.String(), UID: uuid.NewUUID(), CreationTimestamp: metav1.NewTime(time.Now().Truncate(time.Second)), Generation: 1,
			Labels: clusterip.Labels(addr),
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{
			Resource: "services", Namespace: svc.Namespace, Name: svc.Name,
		}},
	}
	data, err := runtime.Encode(s.codec, obj)
	if err != nil {
		return nil, fmt.Errorf("encode IPAddress %s: %w", addr, err)
	}
	return data, nil
}

// learn tells the space how the last transaction ended; true means that claims were in the way.
func (s *claimStorage) learn(ctx context.Context, batch *etcd.Batch) (conflict bool) {
	s.metrics.stored(ctx, batch)
	var changes []clusterip.Change
	switch {
	case batch.Applied:
		for _, p := range batch.Puts {
			changes = append(changes, change(p.Key, true)...)
		}
		for _, d := range batch.Deletes {
			changes = append(changes, change(d, false)...)
		}
	default:
		for _, c := range batch.Conflicts {
			if strings.HasPrefix(c.Key, rangePrefix) {
				s.ranges.observe(c.Key, c.KV, batch.Revision)
				continue
			}
			changes = append(changes, change(c.Key, c.KV != nil)...)
		}
	}
	s.space.Observe(batch.Revision, changes)
	conflict = len(batch.Conflicts) > 0
	batch.Applied, batch.Conflicts = false, nil
	return conflict
}

// change reads a claim's key.
func change(key string, taken bool) []clusterip.Change {
	if name, ok := strings.CutPrefix(key, addressPrefix); ok {
		if addr, err := netip.ParseAddr(name); err == nil {
			return []clusterip.Change{{Addr: addr, Taken: taken}}
		}
	}
	if name, ok := strings.CutPrefix(key, nodePortPrefix); ok {
		if port, err := strconv.ParseInt(name, 10, 32); err == nil {
			return []clusterip.Change{{Port: int32(port), Taken: taken}}
		}
	}
	return nil
}

func nodePortKey(port int32) string { return nodePortPrefix + strconv.Itoa(int(port)) }

// nodePortClaim says for people and for the audit who holds a port.
func nodePortClaim(svc *corev1.Service) []byte {
	data, err := json.Marshal(portClaim{Namespace: svc.Namespace, Name: svc.Name})
	if err != nil {
		return nil // unreachable: two strings
	}
	return data
}

type portClaim struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}
