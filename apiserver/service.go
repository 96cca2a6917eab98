package apiserver

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	headers "k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/clusterip"
)

// services is the Service endpoint: the ordinary store, tried again when the addresses or node
// ports it planned were taken by somebody else before they were written.
type services struct{ object }

// Create plans and stores. Each conflict teaches the space one more taken claim, so it ends.
func (s services) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	ctx = withWish(ctx)
	return again(ctx, func() (runtime.Object, error) {
		return s.object.Create(ctx, obj.DeepCopyObject(), validate, o)
	})
}

// Update plans and stores; see Create.
func (s services) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	ctx = withWish(ctx)
	created := false
	out, err := again(ctx, func() (out runtime.Object, err error) {
		out, created, err = s.object.Update(ctx, name, info, create, update, force, o)
		return out, err
	})
	return out, created, err
}

// again repeats write until it meets no conflict over claims.
func again(ctx context.Context, write func() (runtime.Object, error)) (runtime.Object, error) {
	for {
		out, err := write()
		if !errors.Is(err, errRetry) {
			return out, err
		}
		if ctx.Err() != nil {
			return nil, apierrors.NewTimeoutError("the addresses and node ports planned for the Service were taken again and again", 1)
		}
	}
}

// allocator plans the addresses and node ports of Services from what the space knows.
type allocator struct {
	space   *clusterip.Space
	metrics *allocatorMetrics
	// refresh waits until the space knows all that had happened in etcd when it was called. It is nil
	// where this process is the only one that writes: then the space knows already.
	refresh func(context.Context) error
	// full is told of each Service that was refused because a range is full.
	full func(svc *corev1.Service, usage string)
}

func newAllocator(space *clusterip.Space) *allocator {
	return &allocator{space: space, metrics: newAllocatorMetrics(space), full: func(*corev1.Service, string) {}}
}

// begin is the Begin of the Service row.
func (a *allocator) begin(ctx context.Context, obj, old runtime.Object, _ bool) error {
	svc := obj.(*corev1.Service)
	var before *corev1.Service
	if old != nil {
		before = old.(*corev1.Service)
	}
	asked := svc.DeepCopy()
	remember(ctx, asked)
	err := a.space.Plan(svc, before)
	if err != nil && a.refresh != nil {
		// Another server on the same etcd may have freed or added what was missing.
		if refreshed := a.refresh(ctx); refreshed != nil {
			klog.FromContext(ctx).Error(refreshed, "Cannot ask etcd for news of other servers")
		}
		*svc = *asked
		err = a.space.Plan(svc, before)
	}
	if err != nil {
		a.metrics.refused(asked, err)
	}
	if usage := clusterip.FullDetail(err); usage != "" {
		headers.AddWarning(ctx, "", usage)
		a.full(svc, usage)
	}
	return err
}

// ReportFullRanges has events written about the Service ranges that refused a Service because they
// are full (A7.5).
func (s *Server) ReportFullRanges(events record.EventRecorder) {
	s.allocator.full = func(svc *corev1.Service, usage string) {
		for _, u := range s.allocator.space.Usage() {
			if u.Ready && u.Free == 0 {
				about := &corev1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR", Name: u.Name}
				events.Eventf(about, corev1.EventTypeWarning, "RangeFull", "No address for Service %s/%s. %s", svc.Namespace, svc.Name, usage)
			}
		}
	}
}

// deleteEndpoints removes the Endpoints of a deleted Service (A2.4).
func deleteEndpoints(endpoints *registry.Store) registry.AfterDeleteFunc {
	return func(obj runtime.Object, o *metav1.DeleteOptions) {
		svc := obj.(*corev1.Service)
		if o != nil && len(o.DryRun) > 0 {
			return
		}
		ctx := withNamespace(svc.Namespace)
		_, _, err := endpoints.Delete(ctx, svc.Name, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			klog.ErrorS(err, "Endpoints of a deleted Service stay", "service", klog.KObj(svc))
		}
	}
}
