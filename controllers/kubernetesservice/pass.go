package kubernetesservice

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applynetworkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// pass is one look at all objects. It reads them from the API and writes what differs.
type pass struct {
	*Controller
	client kubernetes.Interface
	// starting is true before the server is ready: no events yet, and a Service that is refused
	// because the allocator has not seen the new ServiceCIDR is tried again for half a second.
	starting bool
}

// all makes everything as wanted. Services and endpoints are both tried even if one fails.
func (p *pass) all(ctx context.Context) error {
	if err := p.defaultCIDR(ctx); err != nil {
		return err
	}
	tasks := []func(context.Context) error{
		func(ctx context.Context) error { return p.service(ctx, apiService(p.config.Ranges, p.config.Port)) },
		func(ctx context.Context) error { return p.service(ctx, dnsService(p.config.Ranges)) },
		p.endpoints,
	}
	errs := make([]error, len(tasks))
	var group sync.WaitGroup
	for i, task := range tasks {
		group.Go(func() { errs[i] = task(ctx) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (p *pass) defaultCIDR(ctx context.Context) error {
	api := p.client.NetworkingV1().ServiceCIDRs()
	stored, err := api.Get(ctx, DefaultServiceCIDR, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		stored, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("get ServiceCIDR %s: %w", DefaultServiceCIDR, err)
	}
	what, warn := decide(p.flags, stored)
	switch what {
	case create:
		stored = &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: DefaultServiceCIDR},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: p.flags},
		}
		if _, err := api.Create(ctx, stored, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create ServiceCIDR %s: %w", DefaultServiceCIDR, err)
		}
		return p.markReady(ctx)
	case upgrade:
		from := stored.Spec.CIDRs[0]
		stored = stored.DeepCopy()
		stored.Spec.CIDRs = p.flags
		if _, err := api.Update(ctx, stored, metav1.UpdateOptions{}); err != nil {
			p.report(stored, upgradeFailed(from, p.flags, err))
			return fmt.Errorf("upgrade ServiceCIDR %s to dual stack: %w", DefaultServiceCIDR, err)
		}
		return nil // the update's event brings us back for the condition
	case markReady:
		return p.markReady(ctx)
	case leave:
		p.report(stored, warn)
	}
	return nil
}

func (p *pass) markReady(ctx context.Context) error {
	condition := applymetav1.Condition().WithType(networkingv1.ServiceCIDRConditionReady).
		WithStatus(metav1.ConditionTrue).WithMessage(messageReady).WithLastTransitionTime(metav1.NewTime(p.now()))
	status := applynetworkingv1.ServiceCIDR(DefaultServiceCIDR).
		WithStatus(applynetworkingv1.ServiceCIDRStatus().WithConditions(condition))
	_, err := p.client.NetworkingV1().ServiceCIDRs().ApplyStatus(ctx, status, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("set condition of ServiceCIDR %s: %w", DefaultServiceCIDR, err)
	}
	return nil
}

// report sends an event about the default ServiceCIDR, once per reason and process.
func (p *pass) report(on *networkingv1.ServiceCIDR, w warning) {
	if p.starting || w.reason == "" || p.reported[w.reason] {
		return
	}
	p.reported[w.reason] = true
	p.deps.Events.Event(on, corev1.EventTypeWarning, w.reason, w.text)
}

// service creates a Service that is missing, or gives it the family that the flags have got.
func (p *pass) service(ctx context.Context, want *corev1.Service) error {
	api := p.client.CoreV1().Services(want.Namespace)
	stored, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if err == nil {
		return p.widen(ctx, stored, want)
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get Service %s/%s: %w", want.Namespace, want.Name, err)
	}
	logger := klog.FromContext(ctx).WithValues("service", klog.KObj(want))
	if missing := len(p.config.Ranges) - len(want.Spec.ClusterIPs); want.Name == dnsName && missing > 0 {
		logger.Info("A range has no tenth address, any address will do", "ranges", p.flags)
	}
	err = p.insist(ctx, func() error {
		_, err := api.Create(ctx, want, metav1.CreateOptions{})
		return err
	})
	switch {
	case err == nil || apierrors.IsAlreadyExists(err):
		return nil
	case p.starting && refused(err):
		logger.Error(err, "Service is missing for now")
		return nil
	default:
		return fmt.Errorf("create Service %s/%s: %w", want.Namespace, want.Name, err)
	}
}

// widen makes a single-stack Service of ours dual-stack; one that somebody made otherwise stays.
func (p *pass) widen(ctx context.Context, stored, want *corev1.Service) error {
	next := widened(stored, want)
	if next == nil {
		return nil
	}
	api := p.client.CoreV1().Services(want.Namespace)
	update := func() error {
		_, err := api.Update(ctx, next, metav1.UpdateOptions{})
		return err
	}
	err := p.insist(ctx, update)
	if refused(err) && len(next.Spec.ClusterIPs) > 1 { // taken: any other address will do
		next.Spec.ClusterIPs = next.Spec.ClusterIPs[:1]
		err = update()
	}
	switch {
	case err == nil || apierrors.IsConflict(err): // its event brings us back
		return nil
	case p.starting && refused(err):
		klog.FromContext(ctx).Error(err, "Service is single-stack for now", "service", klog.KObj(want))
		return nil
	}
	return fmt.Errorf("make Service %s/%s dual-stack: %w", want.Namespace, want.Name, err)
}

// insist tries again for half a second what is refused before the server is ready.
func (p *pass) insist(ctx context.Context, try func() error) (err error) {
	for wait := 2 * time.Millisecond; ; wait *= 2 {
		err = try()
		if !p.starting || !refused(err) || wait > 256*time.Millisecond {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// refused reports whether the API understood the request and said no.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsInternalError(err)
}

// endpoints publishes the servers that live.
func (p *pass) endpoints(ctx context.Context) error {
	servers := []netip.Addr{p.address}
	if p.config.Shared {
		if err := p.renew(ctx); err != nil {
			return err
		}
		list, err := p.leases(ctx)
		if err != nil {
			return err
		}
		servers = alive(list, p.address, p.now())
	}
	return p.publish(ctx, servers)
}

// publish writes Endpoints and EndpointSlice if they differ from what is wanted.
func (p *pass) publish(ctx context.Context, servers []netip.Addr) error {
	return errors.Join(p.publishEndpoints(ctx, servers), p.publishSlice(ctx, servers))
}

func (p *pass) publishEndpoints(ctx context.Context, servers []netip.Addr) error {
	api := p.client.CoreV1().Endpoints(metav1.NamespaceDefault)
	want := endpoints(servers, p.config.Port)
	stored, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && (!equality.Semantic.DeepEqual(stored.Subsets, want.Subsets) || !hasAll(stored.Labels, want.Labels)):
		want.ResourceVersion = stored.ResourceVersion
		_, err = api.Update(ctx, want, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write Endpoints of Service kubernetes: %w", err)
	}
	return nil
}

func (p *pass) publishSlice(ctx context.Context, servers []netip.Addr) error {
	api := p.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	want := slice(servers, p.config.Port)
	stored, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if err == nil && stored.AddressType != want.AddressType { // immutable
		err = api.Delete(ctx, want.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &stored.UID}})
		if err == nil {
			_, err = api.Create(ctx, want, metav1.CreateOptions{})
		}
	} else if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
	} else if err == nil && (!equality.Semantic.DeepEqual(stored.Endpoints, want.Endpoints) ||
		!equality.Semantic.DeepEqual(stored.Ports, want.Ports) || !hasAll(stored.Labels, want.Labels)) {
		want.ResourceVersion = stored.ResourceVersion
		_, err = api.Update(ctx, want, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write EndpointSlice of Service kubernetes: %w", err)
	}
	return nil
}
