package container

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Parts of /proc and /sys that tell about the node or change it. A container sees the first not at
// all and the others read-only, unless its procMount is Unmasked.
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// securityContext merges the Pod's and the container's, where the container's wins.
func securityContext(in Input) (*runtimeapi.LinuxContainerSecurityContext, error) {
	pod, sc := in.Pod, in.Container.SecurityContext
	if sc == nil {
		sc = &corev1.SecurityContext{}
	}
	podSC := podSecurity(pod)
	out := &runtimeapi.LinuxContainerSecurityContext{
		RunAsUser:                runAs(sc.RunAsUser, podSC.RunAsUser),
		RunAsGroup:               runAs(sc.RunAsGroup, podSC.RunAsGroup),
		Privileged:               is(sc.Privileged),
		ReadonlyRootfs:           is(sc.ReadOnlyRootFilesystem),
		NoNewPrivs:               sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		SupplementalGroups:       groups(podSC),
		SupplementalGroupsPolicy: groupsPolicy(podSC),
		NamespaceOptions:         namespaces(pod),
		SelinuxOptions:           selinux(either(sc.SELinuxOptions, podSC.SELinuxOptions)),
	}
	if out.RunAsUser == nil {
		out.RunAsUsername = in.Image.Username
		if in.Image.UID != nil {
			out.RunAsUser = &runtimeapi.Int64Value{Value: *in.Image.UID}
		} else if in.Image.Username == "" {
			out.RunAsUser = &runtimeapi.Int64Value{} // an image that names no user runs as root
		}
	}
	if sc.Capabilities != nil {
		out.Capabilities = &runtimeapi.Capability{AddCapabilities: names(sc.Capabilities.Add), DropCapabilities: names(sc.Capabilities.Drop)}
	}
	if sc.ProcMount == nil || *sc.ProcMount == corev1.DefaultProcMount {
		out.MaskedPaths, out.ReadonlyPaths = slices.Clone(maskedPaths), slices.Clone(readonlyPaths)
	}
	if err := checkNonRoot(in, either(sc.RunAsNonRoot, podSC.RunAsNonRoot), out); err != nil {
		return nil, err
	}
	profile := either(sc.SeccompProfile, podSC.SeccompProfile)
	var err error
	out.Seccomp, err = seccomp(profile, in.SeccompRoot, runtimeapi.SecurityProfile_Unconfined)
	return out, err
}

func podSecurity(pod *corev1.Pod) *corev1.PodSecurityContext {
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext
	}
	return &corev1.PodSecurityContext{}
}

// checkNonRoot refuses to run as root what must not (runAsNonRoot).
func checkNonRoot(in Input, nonRoot *bool, got *runtimeapi.LinuxContainerSecurityContext) error {
	if !is(nonRoot) {
		return nil
	}
	id := in.Pod.Name + "_" + in.Pod.Namespace + "(" + string(in.Pod.UID) + ")"
	asked := asksForUser(in)
	switch {
	case asked && got.RunAsUser.Value == 0:
		return configError("container's runAsUser breaks non-root policy (pod: %q, container: %s)", id, in.Container.Name)
	case got.RunAsUser != nil && got.RunAsUser.Value == 0:
		return configError("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", id, in.Container.Name)
	case got.RunAsUser == nil:
		return configError("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)",
			in.Image.Username, id, in.Container.Name)
	}
	return nil
}

// asksForUser reports whether the Pod names the user, and not its image.
func asksForUser(in Input) bool {
	sc := in.Container.SecurityContext
	return sc != nil && sc.RunAsUser != nil || podSecurity(in.Pod).RunAsUser != nil
}

// groups are the further groups of a Pod's processes; the one that owns its volumes comes first.
func groups(sc *corev1.PodSecurityContext) []int64 {
	var out []int64
	if sc.FSGroup != nil {
		out = append(out, *sc.FSGroup)
	}
	return append(out, sc.SupplementalGroups...)
}

func groupsPolicy(sc *corev1.PodSecurityContext) runtimeapi.SupplementalGroupsPolicy {
	if sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict {
		return runtimeapi.SupplementalGroupsPolicy_Strict
	}
	return runtimeapi.SupplementalGroupsPolicy_Merge
}

// namespaces says which of the Pod's and the node's namespaces a container lives in. Processes are
// the container's own unless the Pod says otherwise.
func namespaces(pod *corev1.Pod) *runtimeapi.NamespaceOption {
	out := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	if pod.Spec.HostNetwork {
		out.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		out.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		out.Pid = runtimeapi.NamespaceMode_NODE
	case is(pod.Spec.ShareProcessNamespace):
		out.Pid = runtimeapi.NamespaceMode_POD
	}
	return out
}

// seccomp translates a profile; without one it is as fallback says.
func seccomp(p *corev1.SeccompProfile, root string, fallback runtimeapi.SecurityProfile_ProfileType) (*runtimeapi.SecurityProfile, error) {
	if p == nil {
		return &runtimeapi.SecurityProfile{ProfileType: fallback}, nil
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || *p.LocalhostProfile == "" {
			return nil, configError("localhostProfile must be set if seccompProfile type is Localhost.")
		}
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: path.Join(root, *p.LocalhostProfile)}, nil
	default:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	}
}

func selinux(o *corev1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func names(list []corev1.Capability) []string {
	var out []string
	for _, c := range list {
		out = append(out, string(c))
	}
	return out
}

// either returns the first that is set.
func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func runAs(container, pod *int64) *runtimeapi.Int64Value {
	if id := either(container, pod); id != nil {
		return &runtimeapi.Int64Value{Value: *id}
	}
	return nil
}

func is(b *bool) bool { return b != nil && *b }
