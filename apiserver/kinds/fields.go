package kinds

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/duetk8s/duet/apiserver/resource"
)

// PodFields are what `kubectl get pods --field-selector` takes.
func PodFields(p *corev1.Pod) fields.Set {
	ip := p.Status.PodIP
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             ip,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

// NodeFields select nodes that are cordoned, or are not.
func NodeFields(n *corev1.Node) fields.Set {
	return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
}

// NamespaceFields select by phase; "name" is an old synonym of metadata.name.
func NamespaceFields(n *corev1.Namespace) fields.Set {
	return fields.Set{"status.phase": string(n.Status.Phase), "name": n.Name}
}

// SecretFields select by type.
func SecretFields(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} }

// EventFields select events under the names of core/v1; RegardingLabel maps the newer names.
func EventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	o := e.InvolvedObject
	return fields.Set{
		"involvedObject.kind":            o.Kind,
		"involvedObject.namespace":       o.Namespace,
		"involvedObject.name":            o.Name,
		"involvedObject.uid":             string(o.UID),
		"involvedObject.apiVersion":      o.APIVersion,
		"involvedObject.resourceVersion": o.ResourceVersion,
		"involvedObject.fieldPath":       o.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

// PersistentVolumeFields hold "name", an old synonym of metadata.name.
func PersistentVolumeFields(v *corev1.PersistentVolume) fields.Set { return fields.Set{"name": v.Name} }

// ReplicationControllerFields select by the number of Pods.
func ReplicationControllerFields(r *corev1.ReplicationController) fields.Set {
	return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
}

// ReplicaSetFields select by the number of Pods.
func ReplicaSetFields(r *appsv1.ReplicaSet) fields.Set {
	return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
}

// JobFields select by the number of Pods that succeeded.
func JobFields(j *batchv1.Job) fields.Set {
	return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
}

// CertificateSigningRequestFields select by signer.
func CertificateSigningRequestFields(r *certificatesv1.CertificateSigningRequest) fields.Set {
	return fields.Set{"spec.signerName": r.Spec.SignerName}
}

// DeploymentScale maps a Deployment to Scale.
func DeploymentScale() *resource.Scale {
	return scale(
		func(d *appsv1.Deployment) **int32 { return &d.Spec.Replicas },
		func(d *appsv1.Deployment) (int32, string) { return d.Status.Replicas, selectorText(d.Spec.Selector) })
}

// ReplicaSetScale maps a ReplicaSet to Scale.
func ReplicaSetScale() *resource.Scale {
	return scale(
		func(r *appsv1.ReplicaSet) **int32 { return &r.Spec.Replicas },
		func(r *appsv1.ReplicaSet) (int32, string) { return r.Status.Replicas, selectorText(r.Spec.Selector) })
}

// StatefulSetScale maps a StatefulSet to Scale.
func StatefulSetScale() *resource.Scale {
	return scale(
		func(s *appsv1.StatefulSet) **int32 { return &s.Spec.Replicas },
		func(s *appsv1.StatefulSet) (int32, string) { return s.Status.Replicas, selectorText(s.Spec.Selector) })
}

// ReplicationControllerScale maps a ReplicationController to Scale.
func ReplicationControllerScale() *resource.Scale {
	return scale(
		func(r *corev1.ReplicationController) **int32 { return &r.Spec.Replicas },
		func(r *corev1.ReplicationController) (int32, string) {
			return r.Status.Replicas, labels.Set(r.Spec.Selector).String()
		})
}

func scale[T runtime.Object](replicas func(T) **int32, status func(T) (int32, string)) *resource.Scale {
	return &resource.Scale{
		Replicas: func(obj runtime.Object) **int32 { return replicas(obj.(T)) },
		Status:   func(obj runtime.Object) (int32, string) { return status(obj.(T)) },
	}
}

// selectorText is a selector as the scale subresource shows it. One that validation would have
// refused selects nothing and shows as "".
func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}
