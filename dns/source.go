package dns

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/controllers/byservice"
)

// Names of the indexes.
const (
	serviceByAddress = "duet.dns.address"
	sliceByAddress   = "duet.dns.endpoint"
	podByAddress     = "duet.dns.pod"
)

// stores is the Source that reads the informers.
type stores struct {
	namespaces, services, slices, pods cache.Indexer
	cidrs                              cache.Store
	ofService                          byservice.Slices
}

// newStores adds the indexes.
func newStores(deps Deps) (stores, error) {
	services, slices := deps.Services, deps.Slices
	err := services.Informer().AddIndexers(cache.Indexers{serviceByAddress: func(obj any) ([]string, error) {
		svc, ok := obj.(*corev1.Service)
		if !ok || svc.Spec.ClusterIP == corev1.ClusterIPNone {
			return nil, nil
		}
		return canonical(svc.Spec.ClusterIPs), nil
	}})
	if err != nil {
		return stores{}, fmt.Errorf("index Services: %w", err)
	}
	ofService, err := byservice.New(slices.Informer())
	if err != nil {
		return stores{}, err
	}
	err = slices.Informer().AddIndexers(cache.Indexers{sliceByAddress: func(obj any) ([]string, error) {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok {
			return nil, nil
		}
		var all []string
		for _, e := range slice.Endpoints {
			all = append(all, e.Addresses...)
		}
		return canonical(all), nil
	}})
	if err != nil {
		return stores{}, fmt.Errorf("index EndpointSlices: %w", err)
	}
	if err := deps.Pods.Informer().AddIndexers(cache.Indexers{podByAddress: podAddresses}); err != nil {
		return stores{}, fmt.Errorf("index Pods: %w", err)
	}
	return stores{
		deps.Namespaces.Informer().GetIndexer(), services.Informer().GetIndexer(), slices.Informer().GetIndexer(), deps.Pods.Informer().GetIndexer(),
		deps.CIDRs.Informer().GetStore(), ofService,
	}, nil
}

// podAddresses are namespace/address for each address of a Pod that has not ended: another may have
// them by now.
func podAddresses(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil, nil
	}
	var all []string
	for _, ip := range pod.Status.PodIPs {
		all = append(all, ip.IP)
	}
	all = canonical(all)
	for i, addr := range all {
		all[i] = pod.Namespace + "/" + addr
	}
	return all, nil
}

// canonical spells addresses as netip does.
func canonical(list []string) (out []string) {
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr.String())
		}
	}
	return out
}

func (s stores) Namespace(name string) bool {
	_, exists, err := s.namespaces.GetByKey(name)
	return err == nil && exists
}

func (s stores) Service(namespace, name string) *corev1.Service {
	obj, exists, err := s.services.GetByKey(namespace + "/" + name)
	if err != nil || !exists {
		return nil
	}
	return obj.(*corev1.Service)
}

func (s stores) Slices(namespace, name string) []*discoveryv1.EndpointSlice {
	return s.ofService.Of(namespace + "/" + name)
}

func (s stores) SlicesAt(addr netip.Addr) []*discoveryv1.EndpointSlice {
	list, err := s.slices.ByIndex(sliceByAddress, addr.String())
	if err != nil {
		return nil
	}
	out := make([]*discoveryv1.EndpointSlice, len(list))
	for i, obj := range list {
		out[i] = obj.(*discoveryv1.EndpointSlice)
	}
	return out
}

func (s stores) Pod(namespace string, addr netip.Addr) bool {
	keys, err := s.pods.IndexKeys(podByAddress, namespace+"/"+addr.String())
	return err == nil && len(keys) > 0
}

func (s stores) ServiceAt(addr netip.Addr) *corev1.Service {
	list, err := s.services.ByIndex(serviceByAddress, addr.String())
	if err != nil || len(list) == 0 {
		return nil
	}
	return list[0].(*corev1.Service)
}

func (s stores) InRange(addr netip.Addr) bool {
	for _, obj := range s.cidrs.List() { // few
		cidr, ok := obj.(*networkingv1.ServiceCIDR)
		if !ok {
			continue
		}
		for _, text := range cidr.Spec.CIDRs {
			if p, err := netip.ParsePrefix(text); err == nil && p.Contains(addr) {
				return true
			}
		}
	}
	return false
}
