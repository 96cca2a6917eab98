package apiserver

import (
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/duetk8s/duet/apiserver/resource"
)

func coreVolumeRows() []resource.Resource {
	return []resource.Resource{
		{
			Kind: "PersistentVolume", Plural: "persistentvolumes",
			Short:         []string{"pv"},
			ClusterScoped: true,
			New:           newOf[v1.PersistentVolume], NewList: newOf[v1.PersistentVolumeList],
		},
		{
			Kind: "PersistentVolumeClaim", Plural: "persistentvolumeclaims",
			Short: []string{"pvc"},
			New:   newOf[v1.PersistentVolumeClaim], NewList: newOf[v1.PersistentVolumeClaimList],
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
		},
		{
			Group: "storage.k8s.io", Kind: "CSINode", Plural: "csinodes",
			ClusterScoped: true,
			New:           newOf[storagev1.CSINode], NewList: newOf[storagev1.CSINodeList],
			NoStatus: true,
		},
		{
			Group: "storage.k8s.io", Kind: "CSIStorageCapacity", Plural: "csistoragecapacities",
			New: newOf[storagev1.CSIStorageCapacity], NewList: newOf[storagev1.CSIStorageCapacityList],
			NoStatus: true,
		},
		{
			Group: "storage.k8s.io", Kind: "StorageClass", Plural: "storageclasses",
			Short:         []string{"sc"},
			ClusterScoped: true,
			New:           newOf[storagev1.StorageClass], NewList: newOf[storagev1.StorageClassList],
			NoStatus: true,
		},
		{
			Group: "storage.k8s.io", Kind: "VolumeAttachment", Plural: "volumeattachments",
			ClusterScoped: true,
			New:           newOf[storagev1.VolumeAttachment], NewList: newOf[storagev1.VolumeAttachmentList],
		},
	}
}
