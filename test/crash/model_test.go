package crash

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stampKey annotates every write with a number of its own: what is found after a crash tells which
// write it comes from.
const stampKey = "crash.duet.test/write"

// entry is what the only client that writes a name knows of it: what was acknowledged last, and at
// most one write since of which nobody knows whether it happened.
type entry struct {
	namespace, name string
	acked           *corev1.Service // nil: absent
	open            *write
}

// write is one write as it was sent.
type write struct {
	what    string
	stamp   string // in the object afterwards
	deletes bool   // has no stamp
	unhooks bool   // takes the finalizers away, which ends an object that waits for that
	// check looks at the object afterwards; nil is content with any.
	check func(*corev1.Service) error
}

// stored says why found is not what w makes of before, or nil. Found nil is absent.
func (w *write) stored(before, found *corev1.Service) error {
	switch {
	case w.deletes:
		return same(removed(before), found)
	case w.unhooks && before.DeletionTimestamp != nil:
		return same(nil, found)
	case found == nil:
		return fmt.Errorf("it is absent")
	case found.Annotations[stampKey] != w.stamp:
		return fmt.Errorf("it is of write %q", found.Annotations[stampKey])
	case before != nil && before.UID != found.UID:
		return fmt.Errorf("it has UID %s, had %s", found.UID, before.UID)
	case w.check != nil:
		return w.check(found)
	}
	return nil
}

// removed is what is left of a Service after a deletion: nothing, or something that waits for its
// finalizers, whose revision the answer does not tell.
func removed(svc *corev1.Service) *corev1.Service {
	if svc == nil || len(svc.Finalizers) == 0 {
		return nil
	}
	left := svc.DeepCopy()
	now := metav1.Now()
	left.DeletionTimestamp, left.ResourceVersion = &now, ""
	return left
}

// same says how found differs from what was acknowledged, or nil.
func same(acked, found *corev1.Service) error {
	switch {
	case acked == nil && found == nil:
		return nil
	case acked == nil:
		return fmt.Errorf("want it absent, found write %q with addresses %v", found.Annotations[stampKey], found.Spec.ClusterIPs)
	case found == nil:
		return fmt.Errorf("want write %q with addresses %v, it is absent", acked.Annotations[stampKey], acked.Spec.ClusterIPs)
	}
	for _, d := range []struct {
		what        string
		want, found any
	}{
		{"UID", acked.UID, found.UID},
		{"write", acked.Annotations[stampKey], found.Annotations[stampKey]},
		{"deletion", acked.DeletionTimestamp != nil, found.DeletionTimestamp != nil},
		{"labels", acked.Labels, found.Labels},
		{"finalizers", acked.Finalizers, found.Finalizers},
		{"spec", acked.Spec, found.Spec},
		{"status", acked.Status, found.Status},
	} {
		if !equality.Semantic.DeepEqual(d.want, d.found) {
			return fmt.Errorf("%s: want %+v, found %+v", d.what, d.want, d.found)
		}
	}
	if acked.ResourceVersion != "" && acked.ResourceVersion != found.ResourceVersion {
		return fmt.Errorf("resourceVersion: want %s, found %s", acked.ResourceVersion, found.ResourceVersion)
	}
	return nil
}

// settle takes what was found after a crash as the truth, or says why it cannot be.
func (e *entry) settle(found *corev1.Service) error {
	err := same(e.acked, found)
	if err != nil && e.open != nil {
		if other := e.open.stored(e.acked, found); other != nil {
			err = fmt.Errorf("%w; and it is not what %s would have left, of which nothing was heard: %w", err, e.open.what, other)
		} else {
			err = nil
		}
	}
	e.acked, e.open = found, nil
	if err != nil {
		return fmt.Errorf("Service %s/%s: %w", e.namespace, e.name, err)
	}
	return nil
}
