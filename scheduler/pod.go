package scheduler

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// pod is a Pod with what would else be worked out again for every node.
type pod struct {
	*corev1.Pod
	requests  amounts
	expected  amounts // CPU and memory, with a guess if it requests none
	ports     []hostPort
	required  nodeaffinity.RequiredNodeAffinity
	preferred *nodeaffinity.PreferredSchedulingTerms // nil for none
	group     string                                 // of the Pods it is to be spread among, "" for none
}

// What a container that requests nothing is taken to use when nodes are compared; as upstream.
var guess = amounts{corev1.ResourceCPU: 100, corev1.ResourceMemory: 200 << 20}

func newPod(obj *corev1.Pod) *pod {
	p := &pod{
		Pod: obj, requests: amountsOf(resource.PodRequests(obj, resource.PodResourcesOptions{})),
		ports: hostPorts(&obj.Spec), required: nodeaffinity.GetRequiredNodeAffinity(obj),
	}
	p.expected = amounts{}
	withGuess := amountsOf(resource.PodRequests(obj, resource.PodResourcesOptions{NonMissingContainerRequests: corev1.ResourceList{
		corev1.ResourceCPU: guess.quantity(corev1.ResourceCPU), corev1.ResourceMemory: guess.quantity(corev1.ResourceMemory),
	}}))
	for name := range guess {
		p.expected[name] = withGuess[name]
	}
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil {
		p.group = string(owner.UID)
	}
	if a := obj.Spec.Affinity; a != nil && a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		// A term that cannot be parsed prefers nothing.
		p.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return p
}

func (p *pod) priority() int32 { return corev1helpers.PodPriority(p.Pod) }

// hostPort is a port of the node that a container takes: on one address, on all of a family
// (0.0.0.0 or ::), or, with the zero address, on all there are.
type hostPort struct {
	protocol corev1.Protocol
	port     int32
	addr     netip.Addr
}

// hostPorts of all containers that run at the same time.
func hostPorts(spec *corev1.PodSpec) []hostPort {
	var out []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			addr, _ := netip.ParseAddr(p.HostIP) // validated; "" is the zero address
			protocol := p.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			out = append(out, hostPort{protocol, p.HostPort, addr.Unmap()})
		}
	}
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	return out
}

// conflicts tells whether both cannot be had on one node.
func (a hostPort) conflicts(b hostPort) bool {
	if a.protocol != b.protocol || a.port != b.port {
		return false
	}
	if !a.addr.IsValid() || !b.addr.IsValid() {
		return true
	}
	return a.addr.Is4() == b.addr.Is4() && (a.addr == b.addr || a.addr.IsUnspecified() || b.addr.IsUnspecified())
}
