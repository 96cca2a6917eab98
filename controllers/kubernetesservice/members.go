package kubernetesservice

import (
	"context"
	"errors"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// informers watch the single objects that Run keeps; none sees any other Service or slice.
func (c *Controller) informers() []cache.SharedIndexInformer {
	only := func(name string) func(*metav1.ListOptions) {
		return func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}
	}
	client := c.deps.Client
	return []cache.SharedIndexInformer{
		coreinformers.NewFilteredServiceInformer(client, metav1.NamespaceDefault, 0, nil, only(serviceName)),
		coreinformers.NewFilteredServiceInformer(client, metav1.NamespaceSystem, 0, nil, only(dnsName)),
		coreinformers.NewFilteredEndpointsInformer(client, metav1.NamespaceDefault, 0, nil, only(serviceName)),
		discoveryinformers.NewFilteredEndpointSliceInformer(client, metav1.NamespaceDefault, 0, nil, only(serviceName)),
	}
}

// renew writes this server's Lease if it is missing or getting old.
func (p *pass) renew(ctx context.Context) error {
	api := p.client.CoordinationV1().Leases(metav1.NamespaceSystem)
	want := leaseOf(p.address, p.now())
	stored, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && due(stored, p.now()):
		want.ResourceVersion = stored.ResourceVersion
		_, err = api.Update(ctx, want, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("renew Lease %s: %w", want.Name, err)
	}
	return nil
}

func (p *pass) leases(ctx context.Context) ([]coordinationv1.Lease, error) {
	list, err := p.client.CoordinationV1().Leases(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(leaseLabel).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("list Leases of API servers: %w", err)
	}
	return list.Items, nil
}

// leave takes this server out of the endpoints if others live. The last one stays in them: it
// will most likely be back under its address.
func (p *pass) leave(ctx context.Context) error {
	list, err := p.leases(ctx)
	if err != nil {
		return err
	}
	servers := alive(list, p.address, p.now())
	if len(servers) == 1 {
		return nil
	}
	for i, s := range servers {
		if s == p.address {
			servers = append(servers[:i], servers[i+1:]...)
			break
		}
	}
	err = p.client.CoordinationV1().Leases(metav1.NamespaceSystem).Delete(ctx, leaseName(p.address), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("delete Lease %s: %w", leaseName(p.address), err)
	}
	return errors.Join(err, p.publish(ctx, servers))
}
