package fit

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// HostPort is a port of the node that a container takes: on one address, on all of a family
// (0.0.0.0 or ::), or, with the zero address, on all there are.
type HostPort struct {
	Protocol corev1.Protocol
	Port     int32
	Addr     netip.Addr
}

// hostPorts of all containers that run at the same time.
func hostPorts(spec *corev1.PodSpec) []HostPort {
	var out []HostPort
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
			out = append(out, HostPort{protocol, p.HostPort, addr.Unmap()})
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

// Conflicts tells whether both cannot be had on one node.
func (a HostPort) Conflicts(b HostPort) bool {
	if a.Protocol != b.Protocol || a.Port != b.Port {
		return false
	}
	if !a.Addr.IsValid() || !b.Addr.IsValid() {
		return true
	}
	return a.Addr.Is4() == b.Addr.Is4() && (a.Addr == b.Addr || a.Addr.IsUnspecified() || b.Addr.IsUnspecified())
}
