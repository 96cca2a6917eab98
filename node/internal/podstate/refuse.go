package podstate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/fit"
)

// Refuse tells why a node does not take a Pod that is bound to it, with the reasons and texts that
// people know from the kubelet; nil if it does. Room is what the Pods have left that it took
// already. A Pod that the scheduler sent is refused only if something has changed meanwhile; one
// that named its node itself is looked at here for the first time.
func Refuse(pod *corev1.Pod, needs *fit.Pod, node *corev1.Node, room *fit.Room) *Failure {
	untolerated := fit.Untolerated(node.Spec.Taints, pod.Spec.Tolerations, corev1.TaintEffectNoExecute)
	return cmp.Or(
		underPressure(pod, node), forbiddenSysctl(pod), otherSystem(pod, node), short(needs, room),
		failedPredicate(needs.Selects(node), "NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
		failedPredicate(!room.PortTaken(needs), "NodePorts", "node(s) didn't have free ports for the requested pod ports"),
		failedPredicate(untolerated == nil, "TaintToleration", "node(s) had taints that the pod didn't tolerate"),
	)
}

func failedPredicate(holds bool, name, description string) *Failure {
	if holds {
		return nil
	}
	return &Failure{Reason: name, Message: "Predicate " + name + " failed: " + description}
}

// short is about the first resource there is too little of. A device that the node does not know
// may be one that its plug-in has yet to tell of.
func short(needs *fit.Pod, room *fit.Room) *Failure {
	for _, s := range room.Short(needs) {
		if _, known := room.Allocatable[s.Resource]; !known && strings.Contains(string(s.Resource), "/") {
			continue
		}
		return &Failure{Reason: "OutOf" + string(s.Resource), Message: fmt.Sprintf(
			"Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", s.Resource, s.Requested, s.Used, s.Capacity)}
	}
	return nil
}

// systemCritical is the lowest priority of Pods that a node under pressure takes.
const systemCritical = 2_000_000_000

// underPressure: a node with too little of something takes no Pod that would make it worse.
func underPressure(pod *corev1.Pod, node *corev1.Node) *Failure {
	var under []corev1.NodeConditionType
	for _, c := range node.Status.Conditions {
		if c.Status == corev1.ConditionTrue &&
			(c.Type == corev1.NodeMemoryPressure || c.Type == corev1.NodeDiskPressure || c.Type == corev1.NodePIDPressure) {
			under = append(under, c.Type)
		}
	}
	switch {
	case len(under) == 0, pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical:
		return nil
	case slices.Equal(under, []corev1.NodeConditionType{corev1.NodeMemoryPressure}) &&
		(pod.Status.QOSClass != corev1.PodQOSBestEffort || fit.Tolerates(pod.Spec.Tolerations, &corev1.Taint{
			Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule,
		})):
		return nil
	}
	return &Failure{Reason: "Evicted", Message: fmt.Sprintf("The node had condition: %v. ", under)}
}

// otherSystem: the Pod asks for an operating system that the node has not.
func otherSystem(pod *corev1.Pod, node *corev1.Node) *Failure {
	if want, asked := pod.Spec.NodeSelector[corev1.LabelOSStable]; asked && want != node.Labels[corev1.LabelOSStable] {
		return &Failure{Reason: "PodOSSelectorNodeLabelDoesNotMatch", Message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	if pod.Spec.OS != nil && pod.Spec.OS.Name != corev1.Linux {
		return &Failure{Reason: "PodOSNotSupported", Message: "Failed to admit pod as the OS field doesn't match node OS"}
	}
	return nil
}

// safe are the settings of the kernel that a Pod may change for itself without any effect on its
// neighbours. The node offers no way to allow more.
var safe = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}

// forbiddenSysctl: one that is not safe, or not the Pod's own.
func forbiddenSysctl(pod *corev1.Pod) *Failure {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := sysctlName(s.Name)
		problem := ""
		switch {
		case !slices.Contains(safe, name):
			problem = "not allowlisted"
		case strings.HasPrefix(name, "net.") && pod.Spec.HostNetwork:
			problem = "not allowed with host net enabled"
		case strings.HasPrefix(name, "kernel.shm") && pod.Spec.HostIPC:
			problem = "not allowed with host ipc enabled"
		}
		if problem != "" {
			return &Failure{Reason: "SysctlForbidden", Message: fmt.Sprintf("forbidden sysctl: %q %s", name, problem)}
		}
	}
	return nil
}

// sysctlName is a setting with dots between its parts, however a Pod spells it: "a/b.c/d" is
// "a.b/c.d", where a part has a dot of its own.
func sysctlName(name string) string {
	if at := strings.IndexAny(name, "./"); at < 0 || name[at] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}
