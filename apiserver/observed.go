package apiserver

import (
	"context"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/etcd"
)

// addressStorage stores IPAddresses that people make, tells the space of them at once, and refuses
// to delete the address of a living Service: that would part the two (B7.3, B7.12).
type addressStorage struct {
	storage.Interface
	claims   *claimStorage
	client   *kubernetes.Client
	services runtime.Codec
}

// Create stores an IPAddress.
func (s *addressStorage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	err := s.Interface.Create(ctx, key, obj, out, ttl)
	if err == nil {
		s.observe(out, true)
	}
	return err
}

// GuaranteedUpdate changes an IPAddress, or creates it when it is applied.
func (s *addressStorage) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	err := s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cached)
	if err == nil {
		s.observe(destination, true)
	}
	return err
}

// Delete removes an IPAddress unless the Service it names has it. The Service is compared in the
// transaction, so it cannot take the address meanwhile.
func (s *addressStorage) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions,
) error {
	batch := &etcd.Batch{}
	err := s.Interface.Delete(etcd.Together(ctx, batch), key, out, preconditions, func(ctx context.Context, existing runtime.Object) error {
		if err := validate(ctx, existing); err != nil {
			return err
		}
		address := existing.(*networkingv1.IPAddress)
		guard, err := s.unheld(ctx, address)
		*batch = etcd.Batch{Guards: guard}
		return err
	}, cached, opts)
	if err == nil {
		s.observe(out, false)
	}
	return err
}

// unheld returns what to compare so that the address stays without a Service, or Forbidden.
func (s *addressStorage) unheld(ctx context.Context, address *networkingv1.IPAddress) ([]etcd.Guard, error) {
	ref := address.Spec.ParentRef
	if address.Labels[networkingv1.LabelManagedBy] != clusterip.ManagedBy || ref == nil || ref.Resource != "services" || ref.Group != "" {
		return nil, nil
	}
	key := servicePrefix + ref.Namespace + "/" + ref.Name
	resp, err := s.client.Kubernetes.Get(ctx, key, kubernetes.GetOptions{})
	if err != nil {
		return nil, err
	}
	if resp.KV == nil {
		return []etcd.Guard{{Key: key}}, nil
	}
	svc := &corev1.Service{}
	if _, _, err := s.services.Decode(resp.KV.Value, nil, svc); err != nil {
		return nil, fmt.Errorf("read Service %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	if heldBy(address, svc) {
		return nil, apierrors.NewForbidden(networkingv1.Resource("ipaddresses"), address.Name,
			fmt.Errorf("it is the address of Service %s/%s and goes when that is deleted", ref.Namespace, ref.Name))
	}
	return []etcd.Guard{{Key: key, Revision: resp.KV.ModRevision}}, nil
}

func (s *addressStorage) observe(obj runtime.Object, taken bool) {
	m := metaOf(obj)
	s.claims.space.Observe(revisionOf(obj), change(addressPrefix+m.GetName(), taken))
}

// rangeStorage stores ServiceCIDRs and tells the space of them at once, so that a Service created
// right after a ServiceCIDR can use it.
type rangeStorage struct {
	storage.Interface
	feed *rangeFeed
}

// Create stores a ServiceCIDR.
func (s *rangeStorage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	err := s.Interface.Create(ctx, key, obj, out, ttl)
	if err == nil {
		s.feed.observeObject(out.(*networkingv1.ServiceCIDR), revisionOf(out), false)
	}
	return err
}

// GuaranteedUpdate changes a ServiceCIDR.
func (s *rangeStorage) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	err := s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cached)
	if err == nil {
		s.feed.observeObject(destination.(*networkingv1.ServiceCIDR), revisionOf(destination), false)
	}
	return err
}

// Delete removes a ServiceCIDR.
func (s *rangeStorage) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions,
) error {
	err := s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts)
	if err == nil {
		s.feed.observeObject(out.(*networkingv1.ServiceCIDR), revisionOf(out), true)
	}
	return err
}

// revisionOf is the etcd revision an object was read or written at; 0 if it has none.
func revisionOf(obj runtime.Object) int64 {
	revision, err := strconv.ParseInt(metaOf(obj).GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return revision
}
