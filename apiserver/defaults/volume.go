package defaults

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// fileMode is 0644, the mode of projected files.
const fileMode int32 = 0o644

func volume(v *corev1.Volume) {
	if reflect.ValueOf(v.VolumeSource).IsZero() {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s := v.Secret; s != nil {
		point(&s.DefaultMode, fileMode)
	}
	if s := v.ConfigMap; s != nil {
		point(&s.DefaultMode, fileMode)
	}
	if s := v.DownwardAPI; s != nil {
		point(&s.DefaultMode, fileMode)
		downward(s.Items)
	}
	if s := v.Projected; s != nil {
		projected(s)
	}
	if s := v.HostPath; s != nil {
		point(&s.Type, corev1.HostPathUnset)
	}
	if s := v.ISCSI; s != nil {
		fill(&s.ISCSIInterface, "default")
	}
	if s := v.Image; s != nil {
		fill(&s.PullPolicy, pullPolicy(s.Reference))
	}
	if s := v.Ephemeral; s != nil && s.VolumeClaimTemplate != nil {
		claimSpec(&s.VolumeClaimTemplate.Spec)
	}
}

func projected(s *corev1.ProjectedVolumeSource) {
	point(&s.DefaultMode, fileMode)
	for _, source := range s.Sources {
		if source.DownwardAPI != nil {
			downward(source.DownwardAPI.Items)
		}
		if source.ServiceAccountToken != nil {
			point(&source.ServiceAccountToken.ExpirationSeconds, 3600)
		}
	}
}

func downward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		fieldRef(items[i].FieldRef)
	}
}

// PersistentVolume defaults a PersistentVolume.
func PersistentVolume(v *corev1.PersistentVolume) {
	fill(&v.Status.Phase, corev1.VolumePending)
	fill(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	point(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	milli(v.Spec.Capacity)
	if s := v.Spec.HostPath; s != nil {
		point(&s.Type, corev1.HostPathUnset)
	}
	if s := v.Spec.ISCSI; s != nil {
		fill(&s.ISCSIInterface, "default")
	}
}

// PersistentVolumeClaim defaults a claim, also the ones in a StatefulSet's templates.
func PersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	fill(&c.Status.Phase, corev1.ClaimPending)
	claimSpec(&c.Spec)
}

func claimSpec(s *corev1.PersistentVolumeClaimSpec) {
	point(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	milli(s.Resources.Limits)
	milli(s.Resources.Requests)
}

// StorageClass defaults a StorageClass.
func StorageClass(c *storagev1.StorageClass) {
	point(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	point(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}

// CSIDriver defaults a CSIDriver.
func CSIDriver(d *storagev1.CSIDriver) {
	point(&d.Spec.AttachRequired, true)
	point(&d.Spec.PodInfoOnMount, false)
	point(&d.Spec.StorageCapacity, false)
	point(&d.Spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	point(&d.Spec.RequiresRepublish, false)
	point(&d.Spec.SELinuxMount, false)
	if len(d.Spec.VolumeLifecycleModes) == 0 {
		d.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}
