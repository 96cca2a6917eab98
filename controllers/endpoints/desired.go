//nolint:staticcheck // Endpoints are deprecated, and this is the package that keeps them
package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/endpointslice"
	endpointutil "k8s.io/endpointslice/util"
)

const (
	labelManagedBy = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"

	overCapacity = corev1.EndpointsOverCapacity
	truncated    = "truncated"
	maxAddresses = 1000
)

// address with whether it is ready. Comparable parts make the key by which ports find each other.
type address struct {
	corev1.EndpointAddress
	ready bool
}

func (a address) key() string { return fmt.Sprintf("%s %t %s", a.IP, a.ready, a.TargetRef.UID) }

// desired is the Endpoints of a Service: labels, annotations and subsets as they should be.
func desired(svc *corev1.Service, pods []*corev1.Pod) *corev1.Endpoints {
	out := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{
		Namespace: svc.Namespace, Name: svc.Name, Labels: map[string]string{}, Annotations: map[string]string{},
	}}
	maps.Copy(out.Labels, svc.Labels)
	out.Labels[labelManagedBy] = managedBy
	delete(out.Labels, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone || svc.Spec.ClusterIP == "" {
		out.Labels[corev1.IsHeadlessService] = ""
	}
	byPort := map[corev1.EndpointPort][]address{}
	for _, pod := range pods {
		addr, ok := addressOf(svc, pod)
		if !ok {
			continue
		}
		for _, port := range ports(svc, pod) {
			byPort[port] = append(byPort[port], addr)
		}
	}
	var cut bool
	if out.Subsets, cut = cap1000(subsets(byPort)); cut {
		out.Annotations[overCapacity] = truncated
	}
	return out
}

// addressOf is what a Pod adds; ok is false for one that adds nothing.
func addressOf(svc *corev1.Service, pod *corev1.Pod) (a address, ok bool) {
	if !endpointutil.ShouldPodBeInEndpoints(pod, svc.Spec.PublishNotReadyAddresses) {
		return a, false
	}
	ip, ok := firstFamily(svc, pod)
	if !ok {
		return a, false
	}
	a.EndpointAddress = corev1.EndpointAddress{IP: ip, TargetRef: &corev1.ObjectReference{
		Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
	}}
	if pod.Spec.NodeName != "" {
		a.NodeName = &pod.Spec.NodeName
	}
	if endpointutil.ShouldSetHostname(pod, svc) {
		a.Hostname = pod.Spec.Hostname
	}
	a.ready = svc.Spec.PublishNotReadyAddresses || endpointutil.IsPodReady(pod)
	return a, true
}

// firstFamily returns the Pod's address of the Service's first family, which without families is
// that of its cluster address, or of the Pod's first.
func firstFamily(svc *corev1.Service, pod *corev1.Pod) (string, bool) {
	if len(svc.Spec.IPFamilies) == 0 && (svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone) {
		return pod.Status.PodIP, pod.Status.PodIP != ""
	}
	v6 := false
	if len(svc.Spec.IPFamilies) > 0 {
		v6 = svc.Spec.IPFamilies[0] == corev1.IPv6Protocol
	} else {
		v6 = strings.Contains(svc.Spec.ClusterIP, ":")
	}
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Is6() == v6 {
			return ip.IP, true
		}
	}
	return "", false
}

// ports of the Service on a Pod; a headless Service without ports has one empty port.
func ports(svc *corev1.Service, pod *corev1.Pod) (out []corev1.EndpointPort) {
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if number, err := endpointslice.FindPort(pod, p); err == nil { // else it names a port the Pod has not
			out = append(out, corev1.EndpointPort{Name: p.Name, Port: int32(number), Protocol: p.Protocol, AppProtocol: p.AppProtocol})
		}
	}
	if len(svc.Spec.Ports) == 0 && svc.Spec.ClusterIP == corev1.ClusterIPNone {
		out = append(out, corev1.EndpointPort{})
	}
	return out
}

// subsets puts ports that have the same addresses into one subset, in an order that depends on
// nothing but what is in them.
func subsets(byPort map[corev1.EndpointPort][]address) []corev1.EndpointSubset {
	byAddresses := map[string]*corev1.EndpointSubset{}
	for port, list := range byPort {
		slices.SortFunc(list, func(a, b address) int { return strings.Compare(a.key(), b.key()) })
		keys := make([]string, len(list))
		for i, a := range list {
			keys[i] = a.key()
		}
		key := strings.Join(keys, ",")
		s := byAddresses[key]
		if s == nil {
			s = &corev1.EndpointSubset{}
			byAddresses[key] = s
			for _, a := range list {
				if a.ready {
					s.Addresses = append(s.Addresses, a.EndpointAddress)
				} else {
					s.NotReadyAddresses = append(s.NotReadyAddresses, a.EndpointAddress)
				}
			}
		}
		if port != (corev1.EndpointPort{}) {
			s.Ports = append(s.Ports, port)
		}
	}
	out := make([]corev1.EndpointSubset, 0, len(byAddresses))
	for _, s := range byAddresses {
		slices.SortFunc(s.Ports, comparePorts)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b corev1.EndpointSubset) int {
		return slices.CompareFunc(a.Ports, b.Ports, comparePorts)
	})
	return out
}

func comparePorts(a, b corev1.EndpointPort) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), strings.Compare(string(a.Protocol), string(b.Protocol)))
}

// cap1000 keeps a thousand addresses, ready ones first, and says whether there were more.
func cap1000(in []corev1.EndpointSubset) (out []corev1.EndpointSubset, cut bool) {
	ready, all := 0, 0
	for _, s := range in {
		ready, all = ready+len(s.Addresses), all+len(s.Addresses)+len(s.NotReadyAddresses)
	}
	if all <= maxAddresses {
		return in, false
	}
	left, leftNotReady := maxAddresses, max(0, maxAddresses-ready)
	take := func(list []corev1.EndpointAddress, left *int) []corev1.EndpointAddress {
		n := min(len(list), *left)
		*left -= n
		return list[:n]
	}
	for _, s := range in {
		s.Addresses, s.NotReadyAddresses = take(s.Addresses, &left), take(s.NotReadyAddresses, &leftNotReady)
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			out = append(out, s)
		}
	}
	return out, true
}
