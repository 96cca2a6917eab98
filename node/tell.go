package node

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// event tells users what happens to a Pod, warn what is wrong with it; with About, which container
// it is about.
func (w *worker) event(pod *corev1.Pod, reason, message string) {
	w.events.Event(subject(pod, ""), corev1.EventTypeNormal, reason, message)
}

func (w *worker) warn(pod *corev1.Pod, reason, message string) {
	w.events.Event(subject(pod, ""), corev1.EventTypeWarning, reason, message)
}

func (w *worker) eventAbout(pod *corev1.Pod, c *corev1.Container, reason, message string) {
	w.events.Event(subject(pod, c.Name), corev1.EventTypeNormal, reason, message)
}

func (w *worker) warnAbout(pod *corev1.Pod, c *corev1.Container, reason, message string) {
	w.events.Event(subject(pod, c.Name), corev1.EventTypeWarning, reason, message)
}

// subject names a Pod, or one of its containers as "spec.containers{name}".
func subject(pod *corev1.Pod, container string) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
	named := func(c corev1.Container) bool { return c.Name == container }
	switch {
	case container == "":
	case slices.ContainsFunc(pod.Spec.InitContainers, named):
		ref.FieldPath = "spec.initContainers{" + container + "}"
	default:
		ref.FieldPath = "spec.containers{" + container + "}"
	}
	return ref
}

// addresses that the runtime gave a sandbox, its own first.
func addresses(network *runtimeapi.PodSandboxNetworkStatus) []netip.Addr {
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(network.GetIp()); err == nil {
		ips = append(ips, ip)
	}
	for _, more := range network.GetAdditionalIps() {
		if ip, err := netip.ParseAddr(more.GetIp()); err == nil {
			ips = append(ips, ip)
		}
	}
	return ips
}
