package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/duetk8s/duet/apiserver/columns"
	"github.com/duetk8s/duet/apiserver/defaults"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/resource"
)

func coreVolumeRows() []resource.Resource {
	return []resource.Resource{
		{
			Kind: "PersistentVolume", Plural: "persistentvolumes",
			Short:         []string{"pv"},
			ClusterScoped: true,
			New:           newOf[corev1.PersistentVolume], NewList: newOf[corev1.PersistentVolumeList],
			Default:  defaulting(defaults.PersistentVolume),
			Validate: validating(kinds.ValidatePersistentVolume),
			Fields:   selecting(kinds.PersistentVolumeFields),
			Columns:  columns.PersistentVolume(),
		},
		{
			Kind: "PersistentVolumeClaim", Plural: "persistentvolumeclaims",
			Short: []string{"pvc"},
			New:   newOf[corev1.PersistentVolumeClaim], NewList: newOf[corev1.PersistentVolumeClaimList],
			Default:  defaulting(defaults.PersistentVolumeClaim),
			Validate: validating(kinds.ValidatePersistentVolumeClaim),
			Columns:  columns.PersistentVolumeClaim(),
		},
	}
}

func storageRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "storage.k8s.io", Kind: "CSIDriver", Plural: "csidrivers",
			ClusterScoped: true,
			New:           newOf[storagev1.CSIDriver], NewList: newOf[storagev1.CSIDriverList],
			Generation: true, NoStatus: true,
			Default:  defaulting(defaults.CSIDriver),
			Validate: validating(kinds.ValidateCSIDriver),
			Columns:  columns.CSIDriver(),
		},
		{
			Group: "storage.k8s.io", Kind: "CSINode", Plural: "csinodes",
			ClusterScoped: true,
			New:           newOf[storagev1.CSINode], NewList: newOf[storagev1.CSINodeList],
			NoStatus: true,
			Validate: validating(kinds.ValidateCSINode),
			Columns:  columns.CSINode(),
		},
		{
			Group: "storage.k8s.io", Kind: "CSIStorageCapacity", Plural: "csistoragecapacities",
			New: newOf[storagev1.CSIStorageCapacity], NewList: newOf[storagev1.CSIStorageCapacityList],
			NoStatus: true,
			Columns:  columns.CSIStorageCapacity(),
		},
		{
			Group: "storage.k8s.io", Kind: "StorageClass", Plural: "storageclasses",
			Short:         []string{"sc"},
			ClusterScoped: true,
			New:           newOf[storagev1.StorageClass], NewList: newOf[storagev1.StorageClassList],
			NoStatus: true,
			Default:  defaulting(defaults.StorageClass),
			Validate: validating(kinds.ValidateStorageClass),
			Columns:  columns.StorageClass(),
		},
		{
			Group: "storage.k8s.io", Kind: "VolumeAttachment", Plural: "volumeattachments",
			ClusterScoped: true,
			New:           newOf[storagev1.VolumeAttachment], NewList: newOf[storagev1.VolumeAttachmentList],
			Validate: validating(kinds.ValidateVolumeAttachment),
			Columns:  columns.VolumeAttachment(),
		},
	}
}
