package container

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hostsPath is where a container finds its hosts file. A mount at exactly this path is the
// container's own affair; one at /etc/hosts/ or /etc does not count (C4.3).
const hostsPath = "/etc/hosts"

// MountsHosts reports whether a container gets the Pod's managed hosts file: the Pod must have an
// address or its node's network, and the container no mount of its own there (C4.3).
func MountsHosts(pod *corev1.Pod, c *corev1.Container, podHasIP bool) bool {
	own := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == hostsPath })
	return !own && (podHasIP || pod.Spec.HostNetwork)
}

// mounts lists the container's own volumes first, then the hosts file (C4.2), read-write even where
// the root file system is read-only (C4.6), then the file for the termination message.
func mounts(in Input) []*runtimeapi.Mount {
	out := slices.Clone(in.Mounts)
	if in.HostsFile != "" && MountsHosts(in.Pod, in.Container, len(in.PodIPs) > 0) {
		out = append(out, &runtimeapi.Mount{ContainerPath: hostsPath, HostPath: in.HostsFile, SelinuxRelabel: true})
	}
	if in.TerminationLog != "" && in.Container.TerminationMessagePath != "" {
		out = append(out, &runtimeapi.Mount{
			ContainerPath: in.Container.TerminationMessagePath, HostPath: in.TerminationLog, SelinuxRelabel: true,
		})
	}
	return out
}
