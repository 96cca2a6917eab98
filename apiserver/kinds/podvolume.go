package kinds

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podVolumes checks names and sources. A source is one of many fields; what each of the usual kinds
// needs is checked here, the rest belongs to whoever mounts it.
func podVolumes(volumes []corev1.Volume, path *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		errs = append(errs, volumeSource(&v.VolumeSource, at)...)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case seen[v.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), v.Name))
		default:
			errs = append(errs, dnsLabel(v.Name, at.Child("name"))...)
		}
		seen[v.Name] = true
	}
	return errs
}

// volumeSource checks that there is one source, and that one. All fields of the type are sources.
func volumeSource(s *corev1.VolumeSource, path *field.Path) (errs field.ErrorList) {
	fields, found := reflect.ValueOf(s).Elem(), 0
	for i := range fields.NumField() {
		if fields.Field(i).IsNil() {
			continue
		}
		if found++; found > 1 {
			name, _, _ := strings.Cut(fields.Type().Field(i).Tag.Get("json"), ",")
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
		}
	}
	switch {
	case found == 0:
		return field.ErrorList{field.Required(path, "must specify a volume type")}
	case found > 1:
		return errs
	}
	switch {
	case s.EmptyDir != nil:
		if l := s.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			errs = append(errs, field.Forbidden(path.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	case s.HostPath != nil:
		errs = hostPath(s.HostPath, path.Child("hostPath"))
	case s.Secret != nil:
		at := path.Child("secret")
		errs = named(s.Secret.SecretName, at.Child("secretName"))
		errs = append(errs, keys(s.Secret.DefaultMode, s.Secret.Items, at)...)
	case s.ConfigMap != nil:
		at := path.Child("configMap")
		errs = named(s.ConfigMap.Name, at.Child("name"))
		errs = append(errs, keys(s.ConfigMap.DefaultMode, s.ConfigMap.Items, at)...)
	case s.PersistentVolumeClaim != nil:
		errs = named(s.PersistentVolumeClaim.ClaimName, path.Child("persistentVolumeClaim", "claimName"))
	case s.DownwardAPI != nil:
		at := path.Child("downwardAPI")
		errs = mode(s.DownwardAPI.DefaultMode, at.Child("defaultMode"))
		errs = append(errs, downward(s.DownwardAPI.Items, at)...)
	case s.Projected != nil:
		errs = projected(s.Projected, path.Child("projected"))
	case s.NFS != nil:
		errs = nfs(s.NFS, path.Child("nfs"))
	case s.CSI != nil:
		errs = named(s.CSI.Driver, path.Child("csi", "driver"))
	case s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate == nil:
		errs = field.ErrorList{field.Required(path.Child("ephemeral", "volumeClaimTemplate"), "")}
	case s.Image != nil:
		errs = named(s.Image.Reference, path.Child("image", "reference"))
	}
	return errs
}

// named is for a reference that must be there.
func named(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

func hostPath(h *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(path.Child("path"), "")}
	}
	var errs field.ErrorList
	if backsteps(h.Path) {
		errs = append(errs, field.Invalid(path.Child("path"), h.Path, "must not contain '..'"))
	}
	if h.Type == nil {
		return errs
	}
	return append(errs, oneOf(*h.Type, path.Child("type"),
		corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate,
		corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
}

func nfs(n *corev1.NFSVolumeSource, path *field.Path) field.ErrorList {
	errs := named(n.Server, path.Child("server"))
	errs = append(errs, named(n.Path, path.Child("path"))...)
	if n.Path != "" && !strings.HasPrefix(n.Path, "/") {
		errs = append(errs, field.Invalid(path.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

func mode(m *int32, path *field.Path) field.ErrorList {
	if m != nil && (*m < 0 || *m > 0o777) {
		return field.ErrorList{field.Invalid(path, *m, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

// keys checks which keys become which files.
func keys(defaultMode *int32, items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	errs := mode(defaultMode, path.Child("defaultMode"))
	for i, item := range items {
		at := path.Child("items").Index(i)
		errs = append(errs, named(item.Key, at.Child("key"))...)
		errs = append(errs, file(item.Path, at.Child("path"))...)
		errs = append(errs, mode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

// file checks the path of a file in a volume; names with ".." in front are the volume's own.
func file(p string, path *field.Path) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := descending(p, path)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") && p != ".." {
		errs = append(errs, field.Invalid(path, p, "must not start with '..'"))
	}
	return errs
}

func downward(items []corev1.DownwardAPIVolumeFile, path *field.Path) (errs field.ErrorList) {
	for i, item := range items {
		at := path.Child("items").Index(i)
		errs = append(errs, file(item.Path, at.Child("path"))...)
		switch {
		case item.FieldRef != nil:
			errs = append(errs, fieldSelector(item.FieldRef, fileFields, at.Child("fieldRef"))...)
			if item.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case item.ResourceFieldRef != nil:
			errs = append(errs, resourceSelector(item.ResourceFieldRef, true, at.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, mode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

func projected(p *corev1.ProjectedVolumeSource, path *field.Path) field.ErrorList {
	errs := mode(p.DefaultMode, path.Child("defaultMode"))
	for i := range p.Sources {
		s, at := &p.Sources[i], path.Child("sources").Index(i)
		fields, found := reflect.ValueOf(s).Elem(), 0
		for _, field := range fields.Fields() {
			if !field.IsNil() {
				found++
			}
		}
		if found > 1 {
			errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
			continue
		}
		switch {
		case s.Secret != nil:
			errs = append(errs, named(s.Secret.Name, at.Child("secret", "name"))...)
			errs = append(errs, keys(nil, s.Secret.Items, at.Child("secret"))...)
		case s.ConfigMap != nil:
			errs = append(errs, named(s.ConfigMap.Name, at.Child("configMap", "name"))...)
			errs = append(errs, keys(nil, s.ConfigMap.Items, at.Child("configMap"))...)
		case s.DownwardAPI != nil:
			errs = append(errs, downward(s.DownwardAPI.Items, at.Child("downwardAPI"))...)
		case s.ServiceAccountToken != nil:
			errs = append(errs, token(s.ServiceAccountToken, at.Child("serviceAccountToken"))...)
		}
	}
	return errs
}

func token(t *corev1.ServiceAccountTokenProjection, path *field.Path) (errs field.ErrorList) {
	if e := t.ExpirationSeconds; e != nil {
		switch {
		case *e < 10*60:
			errs = append(errs, field.Invalid(path.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes"))
		case *e > 1<<32:
			errs = append(errs, field.Invalid(path.Child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	return append(errs, file(t.Path, path.Child("path"))...)
}
