package nodeauth

import corev1 "k8s.io/api/core/v1"

func usesServiceAccount(p *corev1.Pod, name string) bool { return p.Spec.ServiceAccountName == name }

func usesClaim(p *corev1.Pod, name string) bool {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name ||
			v.Ephemeral != nil && p.Name+"-"+v.Name == name {
			return true
		}
	}
	return false
}

func usesSecret(p *corev1.Pod, name string) bool {
	return secretIn(p, func(found string) bool { return found == name })
}

func usesConfigMap(p *corev1.Pod, name string) bool {
	return configMapIn(p, func(found string) bool { return found == name })
}

// refersToAny tells whether a Pod refers to any Secret or ConfigMap at all.
func refersToAny(p *corev1.Pod) bool {
	every := func(string) bool { return true }
	return secretIn(p, every) || configMapIn(p, every)
}

func secretIn(p *corev1.Pod, is func(name string) bool) bool {
	for _, ref := range p.Spec.ImagePullSecrets {
		if is(ref.Name) {
			return true
		}
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Secret != nil && is(v.Secret.SecretName) {
			return true
		}
		if projects(v, func(s *corev1.VolumeProjection) bool { return s.Secret != nil && is(s.Secret.Name) }) {
			return true
		}
	}
	return environment(p, func(from *corev1.EnvFromSource, env *corev1.EnvVarSource) bool {
		return from != nil && from.SecretRef != nil && is(from.SecretRef.Name) ||
			env != nil && env.SecretKeyRef != nil && is(env.SecretKeyRef.Name)
	})
}

func configMapIn(p *corev1.Pod, is func(name string) bool) bool {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.ConfigMap != nil && is(v.ConfigMap.Name) {
			return true
		}
		if projects(v, func(s *corev1.VolumeProjection) bool { return s.ConfigMap != nil && is(s.ConfigMap.Name) }) {
			return true
		}
	}
	return environment(p, func(from *corev1.EnvFromSource, env *corev1.EnvVarSource) bool {
		return from != nil && from.ConfigMapRef != nil && is(from.ConfigMapRef.Name) ||
			env != nil && env.ConfigMapKeyRef != nil && is(env.ConfigMapKeyRef.Name)
	})
}

func projects(v *corev1.Volume, fits func(*corev1.VolumeProjection) bool) bool {
	if v.Projected == nil {
		return false
	}
	for i := range v.Projected.Sources {
		if fits(&v.Projected.Sources[i]) {
			return true
		}
	}
	return false
}

// environment looks at where the environment of each container comes from; one of the two is nil.
func environment(p *corev1.Pod, fits func(*corev1.EnvFromSource, *corev1.EnvVarSource) bool) bool {
	one := func(envFrom []corev1.EnvFromSource, env []corev1.EnvVar) bool {
		for i := range envFrom {
			if fits(&envFrom[i], nil) {
				return true
			}
		}
		for i := range env {
			if fits(nil, env[i].ValueFrom) {
				return true
			}
		}
		return false
	}
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			if one(containers[i].EnvFrom, containers[i].Env) {
				return true
			}
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if c := &p.Spec.EphemeralContainers[i].EphemeralContainerCommon; one(c.EnvFrom, c.Env) {
			return true
		}
	}
	return false
}
