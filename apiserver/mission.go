package apiserver

import (
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/apiserver/ipaddress"
	"github.com/duetk8s/duet/apiserver/resource"
	"github.com/duetk8s/duet/apiserver/service"
	"github.com/duetk8s/duet/apiserver/servicecidr"
	"github.com/duetk8s/duet/clusterip"
)

// missionRows are the kinds duet exists for.
func missionRows(a *allocator) []resource.Resource {
	versions := []string{"v1", "v1beta1", "v1alpha1"}
	return []resource.Resource{
		{
			Kind: "Service", Plural: "services",
			Short: []string{"svc"}, Categories: all,
			New: newOf[corev1.Service], NewList: newOf[corev1.ServiceList],
			CreateOnUpdate: true,
			Name:           service.Name, Default: service.Default, Begin: a.begin, Prepare: service.Prepare,
			Validate: service.Validate, ValidateStatus: service.ValidateStatus, Warnings: service.Warnings,
			Columns: service.Columns(), Fields: service.Fields,
		},
		{
			Group: networkingv1.GroupName, Kind: "ServiceCIDR", Plural: "servicecidrs", Versions: versions,
			ClusterScoped: true, Generation: true,
			New: newOf[networkingv1.ServiceCIDR], NewList: newOf[networkingv1.ServiceCIDRList],
			Name: servicecidr.Name, Prepare: servicecidr.Prepare, Validate: servicecidr.Validate, Columns: servicecidr.Columns(a.usage),
		},
		{
			Group: networkingv1.GroupName, Kind: "IPAddress", Plural: "ipaddresses", Versions: versions,
			Short: []string{"ip"}, ClusterScoped: true, NoStatus: true, Generation: true,
			New: newOf[networkingv1.IPAddress], NewList: newOf[networkingv1.IPAddressList],
			Name: ipaddress.Name, Validate: validateAddress, Columns: ipaddress.Columns(),
			// Both addresses of a Service come and go at one revision. A watch cache takes up one after the
			// other, and serves a list in between as of that revision. A watch from there on would miss the other.
			NoCache: true,
		},
	}
}

// usage feeds the wide columns of ServiceCIDR.
func (a *allocator) usage(name string) []servicecidr.Usage {
	var out []servicecidr.Usage
	for _, u := range a.space.Usage() {
		if u.Name == name {
			out = append(out, servicecidr.Usage{Prefix: u.Prefix, Used: u.Used, Free: u.Free})
		}
	}
	return out
}

// validateAddress adds to the rules of the kind that the labels which mark an address as a
// Service's are the server's alone: nobody makes an IPAddress look like one, or stop looking like
// one, so the set of managed addresses is exact (behaviour.md, B7 as duet differs).
func validateAddress(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := ipaddress.Validate(ctx, obj, old)
	was, is := managedLabels(old), managedLabels(obj)
	if was == is {
		return errs
	}
	path := field.NewPath("metadata", "labels").Key(networkingv1.LabelManagedBy)
	if was[0] != clusterip.ManagedBy && is[0] != clusterip.ManagedBy {
		return errs
	}
	return append(errs, field.Forbidden(path, "set and kept by the server on addresses of Services only"))
}

func managedLabels(obj runtime.Object) (labels [2]string) {
	if obj == nil {
		return labels
	}
	m := metaOf(obj).GetLabels()
	return [2]string{m[networkingv1.LabelManagedBy], m[networkingv1.LabelIPAddressFamily]}
}

// heldBy says whether svc has the address of an IPAddress.
func heldBy(address *networkingv1.IPAddress, svc *corev1.Service) bool {
	addr, err := netip.ParseAddr(address.Name)
	if err != nil {
		return false
	}
	addrs, _ := clusterip.Claims(svc)
	return slices.Contains(addrs, addr)
}
