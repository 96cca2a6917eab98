package columns

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/duetk8s/duet/apiserver/resource"
)

// PersistentVolume prints NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS
// VOLUMEATTRIBUTESCLASS REASON AGE, wide VOLUMEMODE.
func PersistentVolume() *resource.Columns {
	return table(
		defs(text("Capacity"), text("Access Modes"), text("Reclaim Policy"), text("Status"), text("Claim"),
			text("StorageClass"), text("VolumeAttributesClass"), text("Reason"), ageColumn(), wide("VolumeMode")),
		func(v *corev1.PersistentVolume) []any {
			claim := ""
			if ref := v.Spec.ClaimRef; ref != nil {
				claim = ref.Namespace + "/" + ref.Name
			}
			phase := string(v.Status.Phase)
			if v.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			return []any{
				v.Name, capacity(v.Spec.Capacity), accessModes(v.Spec.AccessModes),
				string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
				or(v.Annotations[corev1.BetaStorageClassAnnotation], v.Spec.StorageClassName),
				orDeref(v.Spec.VolumeAttributesClassName, unset), v.Status.Reason, age(&v.ObjectMeta),
				orDeref(v.Spec.VolumeMode, unset),
			}
		})
}

// PersistentVolumeClaim prints NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS
// VOLUMEATTRIBUTESCLASS AGE, wide VOLUMEMODE.
func PersistentVolumeClaim() *resource.Columns {
	return table(
		defs(text("Status"), text("Volume"), text("Capacity"), text("Access Modes"), text("StorageClass"),
			text("VolumeAttributesClass"), ageColumn(), wide("VolumeMode")),
		func(c *corev1.PersistentVolumeClaim) []any {
			phase := string(c.Status.Phase)
			if c.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			size, modes := "", ""
			if c.Spec.VolumeName != "" {
				size, modes = capacity(c.Status.Capacity), accessModes(c.Status.AccessModes)
			}
			return []any{
				c.Name, phase, c.Spec.VolumeName, size, modes,
				or(c.Annotations[corev1.BetaStorageClassAnnotation], orDeref(c.Spec.StorageClassName, "")),
				orDeref(c.Spec.VolumeAttributesClassName, unset), age(&c.ObjectMeta),
				orDeref(c.Spec.VolumeMode, unset),
			}
		})
}

func capacity(list corev1.ResourceList) string {
	size := list[corev1.ResourceStorage]
	return size.String()
}

// StorageClass prints NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE.
// The default class says so behind its name.
func StorageClass() *resource.Columns {
	return table(
		defs(text("Provisioner"), text("ReclaimPolicy"), text("VolumeBindingMode"),
			text("AllowVolumeExpansion"), ageColumn()),
		func(c *storagev1.StorageClass) []any {
			name := c.Name
			if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
				c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
				name += " (default)"
			}
			return []any{
				name, c.Provisioner, orDeref(c.ReclaimPolicy, string(corev1.PersistentVolumeReclaimDelete)),
				orDeref(c.VolumeBindingMode, string(storagev1.VolumeBindingImmediate)),
				deref(c.AllowVolumeExpansion), age(&c.ObjectMeta),
			}
		})
}

// CSIDriver prints NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS
// REQUIRESREPUBLISH MODES AGE.
func CSIDriver() *resource.Columns {
	return table(
		defs(boolean("AttachRequired"), boolean("PodInfoOnMount"), boolean("StorageCapacity"),
			text("TokenRequests"), boolean("RequiresRepublish"), text("Modes"), ageColumn()),
		func(d *storagev1.CSIDriver) []any {
			var modes, audiences []string
			for _, m := range d.Spec.VolumeLifecycleModes {
				modes = append(modes, string(m))
			}
			tokens := unset
			if d.Spec.TokenRequests != nil {
				for _, t := range d.Spec.TokenRequests {
					audiences = append(audiences, t.Audience)
				}
				tokens = strings.Join(audiences, ",")
			}
			attach := d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
			return []any{
				d.Name, attach, deref(d.Spec.PodInfoOnMount), deref(d.Spec.StorageCapacity), tokens,
				deref(d.Spec.RequiresRepublish), or(strings.Join(modes, ","), none), age(&d.ObjectMeta),
			}
		})
}

// CSINode prints NAME DRIVERS AGE.
func CSINode() *resource.Columns {
	return table(defs(number("Drivers"), ageColumn()), func(n *storagev1.CSINode) []any {
		return []any{n.Name, int64(len(n.Spec.Drivers)), age(&n.ObjectMeta)}
	})
}

// CSIStorageCapacity prints NAME STORAGECLASSNAME CAPACITY.
func CSIStorageCapacity() *resource.Columns {
	return table(defs(text("StorageClassName"), text("Capacity")), func(c *storagev1.CSIStorageCapacity) []any {
		size := "" // absent: not known
		if c.Capacity != nil {
			size = c.Capacity.String()
		}
		return []any{c.Name, c.StorageClassName, size}
	})
}

// VolumeAttachment prints NAME ATTACHER PV NODE ATTACHED AGE.
func VolumeAttachment() *resource.Columns {
	return table(
		defs(text("Attacher"), text("PV"), text("Node"), boolean("Attached"), ageColumn()),
		func(a *storagev1.VolumeAttachment) []any {
			return []any{
				a.Name, a.Spec.Attacher, orDeref(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName,
				a.Status.Attached, age(&a.ObjectMeta),
			}
		})
}
