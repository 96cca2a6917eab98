package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/listen"
)

const (
	serviceNamespace = metav1.NamespaceSystem
	serviceKubeDNS   = "kube-dns"
	managedBy        = "duet-dns"
	// annotationServer of a slice lists all addresses of its server.
	annotationServer = "duetk8s.io/server"

	publishAgain = time.Second
	leaveWithin  = time.Second
)

// publish keeps the EndpointSlice of one address until ctx ends.
func (s *Server) publish(ctx context.Context, address netip.Addr, udp, tcp int32) {
	want := s.endpointSlice(address, udp, tcp)
	s.keep(ctx, []string{want.Namespace + "/" + want.Name, serviceNamespace + "/" + serviceKubeDNS}, func(ctx context.Context) error {
		return s.ensure(ctx, want)
	})
	if s.config.Leave {
		s.leave(ctx, want)
	}
}

// keep calls act whenever a Service or EndpointSlice of one of these keys is read or changes, and
// again a while after it failed, until ctx ends.
func (s *Server) keep(ctx context.Context, keys []string, act func(context.Context) error) {
	look := make(chan struct{}, 1)
	wake := listen.Keys(func(key string) {
		if slices.Contains(keys, key) {
			select {
			case look <- struct{}{}:
			default:
			}
		}
	})
	var listener listen.Listener // to informers that run as long as the server at least
	defer listener.Stop()
	listener.To(s.deps.Slices.Informer(), wake)
	listener.To(s.deps.Services.Informer(), wake)
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-look:
		}
		again = nil
		if err := act(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Cannot publish cluster DNS yet", "keys", keys, "err", err)
			again = time.After(publishAgain)
		}
	}
}

// bury takes the EndpointSlices of servers away that died without doing so: those that are no longer
// among the endpoints of Service kubernetes, which know by Leases who lives. A server that is back
// sees that its slices are gone.
func (s *Server) bury(ctx context.Context) error {
	alive := s.config.Addresses
	others := s.source.Slices(metav1.NamespaceDefault, "kubernetes")
	for _, slice := range others {
		for _, e := range slice.Endpoints {
			alive = append(slices.Clip(alive), parseAddrs(e.Addresses)...)
		}
	}
	if len(others) == 0 {
		return nil // who lives is not known
	}
	var errs []error
	for _, slice := range s.source.Slices(serviceNamespace, serviceKubeDNS) {
		of := parseAddrs(strings.Split(slice.Annotations[annotationServer], ","))
		if slice.Labels[discoveryv1.LabelManagedBy] != managedBy || len(of) == 0 || slices.ContainsFunc(of, func(a netip.Addr) bool { return slices.Contains(alive, a) }) {
			continue
		}
		klog.FromContext(ctx).Info("Taking a server that is gone out of cluster DNS", "endpointslice", slice.Name)
		err := s.deps.Client.DiscoveryV1().EndpointSlices(slice.Namespace).Delete(ctx, slice.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &slice.UID}})
		if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // gone, or its server is back
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func parseAddrs(list []string) (out []netip.Addr) {
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// ensure writes the slice if the Service exists and the slice differs from what is wanted.
func (s *Server) ensure(ctx context.Context, want *discoveryv1.EndpointSlice) error {
	svc := s.source.Service(serviceNamespace, serviceKubeDNS)
	if svc == nil {
		return nil // its coming wakes us
	}
	want = want.DeepCopy()
	want.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: svc.Name, UID: svc.UID}}
	api := s.deps.Client.DiscoveryV1().EndpointSlices(want.Namespace)
	have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports) &&
		equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences) && equality.Semantic.DeepEqual(have.Labels, want.Labels) &&
		have.Annotations[annotationServer] == want.Annotations[annotationServer] {
		return nil
	}
	want.ResourceVersion = have.ResourceVersion
	_, err = api.Update(ctx, want, metav1.UpdateOptions{})
	return err
}

// leave takes the slice away when ctx has ended.
func (s *Server) leave(ctx context.Context, want *discoveryv1.EndpointSlice) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	if err := s.deps.Client.DiscoveryV1().EndpointSlices(want.Namespace).Delete(ctx, want.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		klog.FromContext(ctx).Info("Cannot take back the address of cluster DNS", "endpointslice", want.Name, "err", err)
	}
}

// endpointSlice says where this server answers on one address. The names of the ports are those of
// Service kube-dns.
func (s *Server) endpointSlice(address netip.Addr, udp, tcp int32) *discoveryv1.EndpointSlice {
	var server []string
	for _, a := range s.config.Addresses {
		server = append(server, a.String())
	}
	names, protocols, yes := [2]string{"dns", "dns-tcp"}, [2]corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP}, true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: serviceNamespace, Name: serviceKubeDNS + "-" + dashed(address),
			Labels:      map[string]string{discoveryv1.LabelServiceName: serviceKubeDNS, discoveryv1.LabelManagedBy: managedBy},
			Annotations: map[string]string{annotationServer: strings.Join(server, ",")},
		},
		AddressType: discoveryv1.AddressTypeIPv6,
		Ports:       []discoveryv1.EndpointPort{{Name: &names[0], Protocol: &protocols[0], Port: &udp}, {Name: &names[1], Protocol: &protocols[1], Port: &tcp}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{address.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &yes},
		}},
	}
	if address.Is4() {
		slice.AddressType = discoveryv1.AddressTypeIPv4
	}
	return slice
}
