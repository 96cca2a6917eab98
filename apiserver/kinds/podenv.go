package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The fields of its Pod that a container may see (D3.6): in the environment, and as files.
var (
	environmentFields = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	fileFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// knownFields are those that the API can name at all.
	knownFields = append(slices.Clone(environmentFields), "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase")

	resourceFields = []string{
		"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
	}
)

func environment(env []corev1.EnvVar, path *field.Path) (errs field.ErrorList) {
	for i, e := range env {
		at := path.Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, faults(at.Child("name"), e.Name, utilvalidation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, environmentSource(e.Value, e.ValueFrom, at.Child("valueFrom"))...)
		}
	}
	return errs
}

func environmentSource(value string, from *corev1.EnvVarSource, path *field.Path) (errs field.ErrorList) {
	sources := 0
	if f := from.FieldRef; f != nil {
		sources++
		errs = append(errs, fieldSelector(f, environmentFields, path.Child("fieldRef"))...)
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		errs = append(errs, resourceSelector(r, false, path.Child("resourceFieldRef"))...)
	}
	if c := from.ConfigMapKeyRef; c != nil {
		sources++
		errs = append(errs, keySelector(c.Name, c.Key, path.Child("configMapKeyRef"))...)
	}
	if s := from.SecretKeyRef; s != nil {
		sources++
		errs = append(errs, keySelector(s.Name, s.Key, path.Child("secretKeyRef"))...)
	}
	if from.FileKeyRef != nil {
		sources++
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "",
			"must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func keySelector(name, key string, path *field.Path) (errs field.ErrorList) {
	if name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, faults(path.Child("key"), key, utilvalidation.IsConfigMapKey(key))...)
}

func environmentFrom(list []corev1.EnvFromSource, path *field.Path) (errs field.ErrorList) {
	for i, from := range list {
		at := path.Index(i)
		if from.Prefix != "" {
			errs = append(errs, faults(at.Child("prefix"), from.Prefix, utilvalidation.IsRelaxedEnvVarName(from.Prefix))...)
		}
		if from.ConfigMapRef != nil && from.ConfigMapRef.Name == "" {
			errs = append(errs, field.Required(at.Child("configMapRef", "name"), ""))
		}
		if from.SecretRef != nil && from.SecretRef.Name == "" {
			errs = append(errs, field.Required(at.Child("secretRef", "name"), ""))
		}
		switch {
		case from.ConfigMapRef == nil && from.SecretRef == nil:
			errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		case from.ConfigMapRef != nil && from.SecretRef != nil:
			errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

// fieldSelector checks a path such as metadata.labels['app'] against the allowed ones.
func fieldSelector(f *corev1.ObjectFieldSelector, allowed []string, path *field.Path) field.ErrorList {
	if f.APIVersion == "" {
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	}
	if f.FieldPath == "" {
		return field.ErrorList{field.Required(path.Child("fieldPath"), "")}
	}
	base, key, subscripted := subscript(f.FieldPath)
	if !slices.Contains(knownFields, base) {
		return field.ErrorList{field.Invalid(path.Child("fieldPath"), f.FieldPath, "error converting fieldPath: field label not supported: "+f.FieldPath)}
	}
	switch {
	case subscripted && base == "metadata.annotations":
		return faults(path, key, content.IsLabelKey(strings.ToLower(key)))
	case subscripted && base == "metadata.labels":
		return faults(path, key, content.IsLabelKey(key))
	case subscripted:
		return field.ErrorList{field.Invalid(path, base, "does not support subscript")}
	}
	return oneOf(base, path.Child("fieldPath"), allowed...)
}

// subscript splits metadata.labels['app'] into metadata.labels and app.
func subscript(p string) (base, key string, ok bool) {
	base, rest, found := strings.Cut(p, "['")
	key, closed := strings.CutSuffix(rest, "']")
	if !found || !closed || base == "" {
		return p, "", false
	}
	return base, key, true
}

// resourceSelector checks a reference to a container's requests or limits; a file has to say which
// container is meant.
func resourceSelector(r *corev1.ResourceFieldSelector, file bool, path *field.Path) (errs field.ErrorList) {
	switch {
	case file && r.ContainerName == "":
		errs = append(errs, field.Required(path.Child("containerName"), ""))
	case r.Resource == "":
		errs = append(errs, field.Required(path.Child("resource"), ""))
	case strings.HasPrefix(r.Resource, "limits.hugepages-"), strings.HasPrefix(r.Resource, "requests.hugepages-"):
	default:
		errs = append(errs, oneOf(r.Resource, path.Child("resource"), resourceFields...)...)
	}
	return append(errs, divisor(r.Resource, r.Divisor, path.Child("divisor"))...)
}

const byteDivisors = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the "

func divisor(of string, d resource.Quantity, path *field.Path) field.ErrorList {
	bytes := []string{"0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	_, name, _ := strings.Cut(of, ".")
	allowed, text := []string(nil), ""
	switch {
	case name == "cpu":
		allowed, text = []string{"0", "1", "1m"}, "only divisor's values 1m and 1 are supported with the cpu resource"
	case name == "memory":
		allowed, text = bytes, byteDivisors+"memory resource"
	case name == "ephemeral-storage":
		allowed, text = bytes, byteDivisors+"local ephemeral storage resource"
	case strings.HasPrefix(name, "hugepages-"):
		allowed, text = bytes, byteDivisors+"hugepages resource"
	default:
		return nil
	}
	if slices.Contains(allowed, d.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, of, text)}
}
