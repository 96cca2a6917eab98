package podstate

import (
	"encoding/hex"
	"hash/fnv"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// sidecar: an init container that stays.
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func isInit(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

// restarts tells whether an instance that ended is followed by another: the container's rules come
// first, then its policy, then the Pod's. An init container that succeeded has done its work.
func restarts(pod *corev1.Pod, c *corev1.Container, ended *Instance) bool {
	initial := isInit(pod, c.Name)
	if initial && sidecar(c) {
		return true
	}
	if initial && ended.ExitCode == 0 {
		return false
	}
	for _, rule := range c.RestartPolicyRules {
		if rule.ExitCodes == nil || rule.Action != corev1.ContainerRestartRuleActionRestart {
			continue
		}
		if slices.Contains(rule.ExitCodes.Values, ended.ExitCode) == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	policy := string(pod.Spec.RestartPolicy)
	if c.RestartPolicy != nil {
		policy = string(*c.RestartPolicy)
	}
	switch policy {
	case string(corev1.RestartPolicyNever):
		return false
	case string(corev1.RestartPolicyOnFailure):
		return ended.ExitCode != 0
	}
	return true
}

// Hash of what cannot change in a container's spec without a new instance.
func Hash(c *corev1.Container) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.Name + "\x00" + c.Image))
	return hex.EncodeToString(h.Sum(nil))
}

// Name of a Pod in texts that people know: "nginx_default(0b6e…)".
func Name(pod *corev1.Pod) string {
	return pod.Name + "_" + pod.Namespace + "(" + string(pod.UID) + ")"
}
