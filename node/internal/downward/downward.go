// Package downward computes what the downward API tells a container about its own Pod, for
// environment variables and for volumes. It is pure; packages container and volumes share it.
package downward

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/duetk8s/duet/dualstack"
)

// Field returns the value of a fieldPath that is about the Pod's metadata:
//
//	metadata.name  metadata.labels['key']  metadata.annotations
//
// A whole map reads as lines `key="value"`, sorted. The key of a label or annotation that the Pod
// lacks is the empty string.
func Field(pod *corev1.Pod, path string) (string, error) {
	if field, key, ok := subscript(path); ok {
		switch field {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
		return "", fmt.Errorf("fieldPath %q does not support subscript", path)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// EnvField returns the value of a fieldPath that an environment variable may name (D3.6): what
// [Field] knows, and what is settled when a container starts. Addresses come in the Pod's order,
// lists joined by a comma.
func EnvField(pod *corev1.Pod, podIPs, hostIPs []netip.Addr, path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(hostIPs), nil
	case "status.hostIPs":
		return dualstack.Join(hostIPs), nil
	case "status.podIP":
		return first(podIPs), nil
	case "status.podIPs":
		return dualstack.Join(podIPs), nil
	}
	return Field(pod, path)
}

func first(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return ""
	}
	return addrs[0].String()
}

// subscript splits metadata.labels['key'].
func subscript(path string) (field, key string, ok bool) {
	rest, ok := strings.CutSuffix(path, "']")
	if !ok {
		return "", "", false
	}
	field, key, ok = strings.Cut(rest, "['")
	return field, key, ok && field != ""
}

// lines writes a map as a downwardAPI volume shows it.
func lines(m map[string]string) string {
	out := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(out, "\n")
}

// Resource returns the value of a resourceFieldRef, in units of its divisor, rounded up. A limit
// that the container does not have is what the node can give (its allocatable), a request that it
// does not have is 0; node may be nil, then such limits are an error.
func Resource(container *corev1.Container, ref *corev1.ResourceFieldSelector, node *corev1.Node) (string, error) {
	kind, name, ok := strings.Cut(ref.Resource, ".")
	list := container.Resources.Limits
	if kind == "requests" {
		list = container.Resources.Requests
	} else if kind != "limits" {
		ok = false
	}
	if !ok || !known(name) {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	q, found := list[corev1.ResourceName(name)]
	if (!found || q.IsZero()) && kind == "limits" {
		if node == nil {
			return "", fmt.Errorf("container %s has no %s, and what the node can give is not known yet", container.Name, ref.Resource)
		}
		q = node.Status.Allocatable[corev1.ResourceName(name)]
	}
	return strconv.FormatInt(ceil(q, ref.Divisor, name == string(corev1.ResourceCPU)), 10), nil
}

func known(name string) bool {
	switch corev1.ResourceName(name) {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	default:
		return strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
	}
}

// ceil divides, rounding up; CPU is counted in thousandths. A divisor of zero is one.
func ceil(q, divisor resource.Quantity, cpu bool) int64 {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if cpu {
		return int64(math.Ceil(float64(q.MilliValue()) / float64(divisor.MilliValue())))
	}
	return int64(math.Ceil(float64(q.Value()) / float64(divisor.Value())))
}

// Container returns the container of a Pod, init containers included, that a resourceFieldRef of a
// volume names.
func Container(pod *corev1.Pod, name string) (*corev1.Container, error) {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i], nil
			}
		}
	}
	return nil, fmt.Errorf("container %s not found", name)
}
