package kinds

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxData is 1 MiB, the most that a ConfigMap or a Secret holds.
	maxData = 1 << 20
	// frozen is the text for a change of data behind immutable: true.
	frozen = "field is immutable when `immutable` is set"
	// redacted stands for the value of a Secret, which never shows in an error.
	redacted = "<secret contents redacted>"
)

// ValidateConfigMap checks keys, total size and immutability.
func ValidateConfigMap(c, old *corev1.ConfigMap) (errs field.ErrorList) {
	size := 0
	for _, key := range sorted(c.Data) {
		errs = append(errs, dataKey(key, field.NewPath("data"))...)
		if _, twice := c.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
		size += len(c.Data[key])
	}
	for _, key := range sorted(c.BinaryData) {
		errs = append(errs, dataKey(key, field.NewPath("binaryData"))...)
		size += len(c.BinaryData[key])
	}
	errs = append(errs, dataSize(size, field.NewPath(""))...)
	if old != nil && isTrue(old.Immutable) {
		errs = append(errs, stillImmutable(c.Immutable)...)
		errs = append(errs, forbidChange(c.Data, old.Data, field.NewPath("data"), frozen)...)
		errs = append(errs, forbidChange(c.BinaryData, old.BinaryData, field.NewPath("binaryData"), frozen)...)
	}
	return errs
}

// ValidateSecret checks keys, total size, what the type asks for, and immutability. The type never
// changes.
func ValidateSecret(s, old *corev1.Secret) (errs field.ErrorList) {
	data, size := field.NewPath("data"), 0
	for _, key := range sorted(s.Data) {
		errs = append(errs, dataKey(key, data)...)
		size += len(s.Data[key])
	}
	errs = append(errs, dataSize(size, data)...)
	errs = append(errs, secretType(s)...)
	if old == nil {
		return errs
	}
	errs = append(errs, immutable(s.Type, old.Type, field.NewPath("type"))...)
	if isTrue(old.Immutable) {
		errs = append(errs, stillImmutable(s.Immutable)...)
		errs = append(errs, forbidChange(s.Data, old.Data, data, frozen)...)
	}
	return errs
}

// secretType checks the keys that each built-in type needs.
func secretType(s *corev1.Secret) (errs field.ErrorList) {
	data := field.NewPath("data")
	need := func(keys ...string) {
		for _, key := range keys {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(data.Key(key), ""))
			}
		}
	}
	switch s.Type {
	default: // Opaque, or a type of somebody's own
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, jsonKey(s, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, jsonKey(s, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		if _, password := s.Data[corev1.BasicAuthPasswordKey]; !user && !password {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return errs
}

func jsonKey(s *corev1.Secret, key string) field.ErrorList {
	path := field.NewPath("data").Key(key)
	value, ok := s.Data[key]
	if !ok {
		return field.ErrorList{field.Required(path, "")}
	}
	if err := json.Unmarshal(value, &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(path, redacted, err.Error())}
	}
	return nil
}

func dataKey(key string, path *field.Path) field.ErrorList {
	return faults(path.Key(key), key, utilvalidation.IsConfigMapKey(key))
}

func dataSize(size int, path *field.Path) field.ErrorList {
	if size > maxData {
		return field.ErrorList{field.TooLong(path, "", maxData)}
	}
	return nil
}

func stillImmutable(value *bool) field.ErrorList {
	if isTrue(value) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("immutable"), frozen)}
}

func isTrue(b *bool) bool { return b != nil && *b }
