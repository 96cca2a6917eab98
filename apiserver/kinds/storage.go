package kinds

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func modes(list []corev1.PersistentVolumeAccessMode, path *field.Path, otherwise string) (errs field.ErrorList) {
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, otherwise)}
	}
	for _, m := range list {
		errs = append(errs, oneOf(m, path,
			corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
	}
	return errs
}

// ValidatePersistentVolume checks access modes and capacity.
func ValidatePersistentVolume(v, old *corev1.PersistentVolume) field.ErrorList {
	path := field.NewPath("spec")
	errs := modes(v.Spec.AccessModes, path.Child("accessModes"), "")
	size, ok := v.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case len(v.Spec.Capacity) == 0:
		errs = append(errs, field.Required(path.Child("capacity"), ""))
	case !ok || len(v.Spec.Capacity) > 1:
		errs = append(errs, field.NotSupported(path.Child("capacity"), v.Spec.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	case size.Sign() <= 0:
		errs = append(errs, field.Invalid(path.Child("capacity").Key("storage"), size.String(), "must be greater than zero"))
	}
	if old != nil {
		errs = append(errs, immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, path.Child("volumeMode"))...)
		errs = append(errs, forbidChange(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource,
			path.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation")...)
	}
	return errs
}

// ValidatePersistentVolumeClaim checks access modes and size. Once made, a claim may be bound,
// grow, and change its attributes class.
func ValidatePersistentVolumeClaim(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	path, s := field.NewPath("spec"), &c.Spec
	errs := modes(s.AccessModes, path.Child("accessModes"), "at least 1 access mode is required")
	at := path.Child("resources").Key("storage")
	size, ok := s.Resources.Requests[corev1.ResourceStorage]
	switch {
	case !ok:
		errs = append(errs, field.Required(at, ""))
	case size.Sign() <= 0:
		errs = append(errs, field.Invalid(at, size.String(), "must be greater than zero"))
	}
	if old == nil {
		return errs
	}
	back, was := s.DeepCopy(), &old.Spec
	if was.VolumeName == "" {
		back.VolumeName = ""
	}
	if was.StorageClassName == nil {
		back.StorageClassName = nil // a default class may be given later
	}
	back.Resources.Requests, back.VolumeAttributesClassName = was.Resources.Requests, was.VolumeAttributesClassName
	errs = append(errs, forbidChange(back, was, path,
		"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")...)
	if before := was.Resources.Requests[corev1.ResourceStorage]; size.Cmp(before) < 0 {
		errs = append(errs, field.Forbidden(path.Child("resources", "requests", "storage"),
			"field can not be less than previous value"))
	}
	return errs
}

// ValidateStorageClass checks a class, of which little changes.
func ValidateStorageClass(c, old *storagev1.StorageClass) (errs field.ErrorList) {
	if c.Provisioner == "" {
		errs = append(errs, field.Required(field.NewPath("provisioner"), ""))
	} else {
		errs = append(errs, faults(field.NewPath("provisioner"), c.Provisioner, content.IsLabelKey(c.Provisioner))...)
	}
	if c.ReclaimPolicy != nil {
		errs = append(errs, oneOf(*c.ReclaimPolicy, field.NewPath("reclaimPolicy"),
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if c.VolumeBindingMode != nil {
		errs = append(errs, oneOf(*c.VolumeBindingMode, field.NewPath("volumeBindingMode"),
			storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	if old != nil {
		errs = append(errs, forbidChange(c.Parameters, old.Parameters, field.NewPath("parameters"),
			"updates to parameters are forbidden.")...)
		errs = append(errs, forbidChange(c.Provisioner, old.Provisioner, field.NewPath("provisioner"),
			"updates to provisioner are forbidden.")...)
		errs = append(errs, forbidChange(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"),
			"updates to reclaimPolicy are forbidden.")...)
		errs = append(errs, immutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	}
	return errs
}

// maxDriverName is what CSI allows.
const maxDriverName = 63

// ValidateCSIDriver checks the name, which CSI keeps short, and what never changes.
func ValidateCSIDriver(d, old *storagev1.CSIDriver) (errs field.ErrorList) {
	path := field.NewPath("spec")
	if old == nil {
		if len(d.Name) > maxDriverName {
			errs = append(errs, field.TooLong(field.NewPath("metadata", "name"), d.Name, maxDriverName))
		}
	} else {
		errs = append(errs, immutable(d.Spec.AttachRequired, old.Spec.AttachRequired, path.Child("attachedRequired"))...)
		errs = append(errs, immutable(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, path.Child("volumeLifecycleModes"))...)
	}
	for i, m := range d.Spec.VolumeLifecycleModes {
		errs = append(errs, oneOf(m, path.Child("volumeLifecycleModes").Index(i),
			storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	return errs
}

// ValidateCSINode checks that each driver is listed once and says how it calls the node.
func ValidateCSINode(n, _ *storagev1.CSINode) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, d := range n.Spec.Drivers {
		path := field.NewPath("spec", "drivers").Index(i)
		errs = append(errs, required(d.Name, path.Child("name"))...)
		errs = append(errs, required(d.NodeID, path.Child("nodeID"))...)
		if d.Name != "" && seen[d.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), d.Name))
		}
		seen[d.Name] = true
	}
	return errs
}

// ValidateVolumeAttachment checks that an attachment says what is attached where, for good.
func ValidateVolumeAttachment(a, old *storagev1.VolumeAttachment) field.ErrorList {
	path := field.NewPath("spec")
	errs := required(a.Spec.Attacher, path.Child("attacher"))
	errs = append(errs, required(a.Spec.NodeName, path.Child("nodeName"))...)
	if a.Spec.Source.PersistentVolumeName == nil && a.Spec.Source.InlineVolumeSpec == nil {
		errs = append(errs, field.Required(path.Child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	}
	if old != nil {
		errs = append(errs, immutable(a.Spec, old.Spec, path)...)
	}
	return errs
}
