package nodestatus

import (
	"context"
	"errors"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/apimachinery/lease"
)

const (
	leaseDuration = 40 * time.Second
	renewEvery    = leaseDuration / 4
)

// renewLease keeps the Lease NAME in kube-node-lease until ctx ends; it belongs to the Node and goes
// with it.
func (s *Status) renewLease(ctx context.Context) {
	own := func(l *coordinationv1.Lease) error {
		n := s.Node()
		if n == nil {
			return errors.New("the Node is not registered")
		}
		l.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Node", Name: n.Name, UID: n.UID,
		}}
		return nil
	}
	lease.NewController(s.config.Clock, s.config.Client, s.config.Name, int32(leaseDuration/time.Second), nil,
		renewEvery, s.config.Name, corev1.NamespaceNodeLease, own).Run(ctx)
}
