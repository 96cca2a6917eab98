// Package endpointslicemirroring turns Endpoints that users write for a Service without a selector
// into EndpointSlices, which is all that proxies and DNS read (behaviour.md, D4.8).
//
// What slices there should be is decided by desired, which is pure; Controller writes them. A
// slice's name follows from the Endpoints, the family and the ports, so that writing twice what has
// not been seen yet makes no second slice.
//
//nolint:staticcheck // Endpoints are deprecated, and this is the package that reads them
package endpointslicemirroring

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	managedBy = "endpointslicemirroring-controller.k8s.io"
	// maxPerSubset is how many addresses of a subset are mirrored.
	maxPerSubset = 1000
)

// mirrored tells whether the Endpoints are to be mirrored at all, given the Service of that name or nil.
func mirrored(e *corev1.Endpoints, svc *corev1.Service) bool {
	_, lock := e.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]
	return e.Labels[discoveryv1.LabelSkipMirror] != "true" && !lock && e.DeletionTimestamp == nil &&
		svc != nil && len(svc.Spec.Selector) == 0 && svc.Spec.Type != corev1.ServiceTypeExternalName
}

// desired returns the slices by name, and what was left out of them.
func desired(e *corev1.Endpoints) (slices map[string]*discoveryv1.EndpointSlice, tooMany, invalid int) {
	slices = map[string]*discoveryv1.EndpointSlice{}
	for _, subset := range e.Subsets {
		added := 0
		add := func(list []corev1.EndpointAddress, ready bool) {
			for i := range list {
				addr, err := netip.ParseAddr(list[i].IP)
				switch {
				case err != nil:
					invalid++
				case added == maxPerSubset:
					tooMany++
				default:
					added++
					slice := sliceFor(slices, e, subset.Ports, addr)
					slice.Endpoints = append(slice.Endpoints, endpoint(&list[i], addr, ready))
				}
			}
		}
		add(subset.Addresses, true)
		add(subset.NotReadyAddresses, false)
	}
	return slices, tooMany, invalid
}

// sliceFor finds or adds the slice of an address's family and of these ports.
func sliceFor(slices map[string]*discoveryv1.EndpointSlice, e *corev1.Endpoints, ports []corev1.EndpointPort, addr netip.Addr) *discoveryv1.EndpointSlice {
	family := discoveryv1.AddressTypeIPv6
	if addr.Unmap().Is4() {
		family = discoveryv1.AddressTypeIPv4
	}
	hash := fnv.New32a()
	_ = json.NewEncoder(hash).Encode([]any{family, ports}) // a hash takes everything
	name := e.Name[:min(len(e.Name), 240)] + "-" + rand.SafeEncodeString(fmt.Sprint(hash.Sum32()))
	if s := slices[name]; s != nil {
		return s
	}
	s := &discoveryv1.EndpointSlice{AddressType: family, ObjectMeta: metav1.ObjectMeta{
		Namespace: e.Namespace, Name: name, Labels: map[string]string{}, Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
	}}
	maps.Copy(s.Labels, e.Labels)
	maps.Copy(s.Annotations, e.Annotations)
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = e.Name, managedBy
	delete(s.Annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(s.Annotations, corev1.LastAppliedConfigAnnotation)
	for i := range ports {
		p := &ports[i]
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	slices[name] = s
	return s
}

func endpoint(a *corev1.EndpointAddress, addr netip.Addr, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses: []string{addr.Unmap().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef: a.TargetRef, NodeName: a.NodeName,
	}
	if a.Hostname != "" {
		e.Hostname = &a.Hostname
	}
	return e
}
