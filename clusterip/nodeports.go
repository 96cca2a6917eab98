package clusterip

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// wantsNodePorts reports whether ports of svc get node ports without asking (A9.7).
func wantsNodePorts(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

// mayHaveNodePorts reports whether svc is of a type that may have node ports.
func mayHaveNodePorts(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// wantsHealthCheckPort reports whether svc needs a port where load balancers ask each node whether
// it has endpoints (A5.16).
func wantsHealthCheckPort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// portPlan allocates the node ports of one Service. A number serves both families and all
// protocols (A9.2).
type portPlan struct {
	space *Space
	svc   *corev1.Service
	// held are the node ports that the old object holds. They may be kept, wherever the range is
	// now.
	held []int32
	// mine are the numbers that somebody asked for and got, and the old object's health check port.
	// The Space need not know them yet.
	mine []int32
}

// planPorts fills node ports and the port for health checks (A9).
func (s *Space) planPorts(svc, old *corev1.Service) error {
	if !mayHaveNodePorts(svc) {
		return nil
	}
	p := portPlan{space: s, svc: svc}
	var err error
	if old == nil {
		err = p.create()
	} else {
		p.held = nodePorts(old)
		if wantsHealthCheckPort(old) {
			p.mine = append(p.mine, old.Spec.HealthCheckNodePort)
		}
		err = p.update()
	}
	if err != nil {
		return err
	}
	// A health check port that was there stays; validation sees to that (A5.16).
	if wantsHealthCheckPort(svc) && (old == nil || !wantsHealthCheckPort(old)) {
		return p.healthCheck()
	}
	return nil
}

// create gives each service port a node port; service ports of the same number, say DNS over TCP
// and UDP, share one (A9.5).
func (p *portPlan) create() error {
	ports, auto := p.svc.Spec.Ports, wantsNodePorts(p.svc)
	for i := range ports {
		port := &ports[i]
		if port.NodePort == 0 && !auto {
			continue
		}
		shared := nodePortOf(ports[:i], port.Port)
		if port.NodePort == 0 && shared != 0 {
			port.NodePort = shared
			continue
		}
		if shared != 0 && port.NodePort == shared {
			continue
		}
		if shared == 0 {
			// The first of its number also speaks for a later one that names a node port.
			if wish := nodePortOf(ports[i:], port.Port); wish != 0 {
				port.NodePort = wish
			}
		}
		if err := p.give(i); err != nil {
			return err
		}
	}
	return nil
}

// update keeps what the old object holds, checks numbers that are new, and gives every port without
// a number one of its own (A9.6).
func (p *portPlan) update() error {
	ports, auto := p.svc.Spec.Ports, wantsNodePorts(p.svc)
	for i := range ports {
		port := &ports[i]
		if port.NodePort == 0 && !auto {
			continue
		}
		known := slices.Contains(p.held, port.NodePort) || usesNodePort(ports[:i], port.NodePort)
		if port.NodePort == 0 || !known {
			if err := p.give(i); err != nil {
				return err
			}
		}
		if duplicate(ports[:i], *port) {
			return fmt.Errorf("duplicate nodePort: {%s %d}", port.Protocol, port.NodePort)
		}
	}
	return nil
}

// give allocates the node port of ports[i]: the one it names, or any.
func (p *portPlan) give(i int) error {
	port := &p.svc.Spec.Ports[i]
	if port.NodePort == 0 {
		n, err := p.next("nodePort")
		port.NodePort = n
		return err
	}
	if err := p.claim(port.NodePort); err != nil {
		path := specPath("ports").Index(i).Child("nodePort")
		return invalid(p.svc, field.Invalid(path, port.NodePort, err.Error()))
	}
	return nil
}

// healthCheck allocates healthCheckNodePort (A9.8).
func (p *portPlan) healthCheck() error {
	port := &p.svc.Spec.HealthCheckNodePort
	if *port == 0 {
		n, err := p.next("HealthCheck NodePort 0")
		*port = n
		return err
	}
	err := p.claim(*port)
	if usesNodePort(p.svc.Spec.Ports, *port) {
		err = errPortTaken
	}
	if err != nil {
		return apierrors.NewInternalError(
			fmt.Errorf("failed to allocate requested HealthCheck NodePort %d: %w", *port, err))
	}
	return nil
}

// claim takes the number that somebody asked for.
func (p *portPlan) claim(n int32) error {
	switch {
	case !p.space.nodePorts.Contains(n):
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", p.space.nodePorts)
	case slices.Contains(p.mine, n) || p.space.portTaken(n):
		return errPortTaken
	}
	p.mine = append(p.mine, n)
	return nil
}

// next picks a free number, and not one that svc has or asks for elsewhere. What is the noun of the error.
func (p *portPlan) next(what string) (int32, error) {
	n, ok := p.space.pickPort(func(n number) bool {
		port := int32(n.lo)
		return usesNodePort(p.svc.Spec.Ports, port) || port == p.svc.Spec.HealthCheckNodePort
	})
	if !ok {
		return 0, p.space.portsFull(what)
	}
	return n, nil
}

// nodePortOf returns the first node port among those ports whose service port is the one given.
func nodePortOf(ports []corev1.ServicePort, port int32) int32 {
	for i := range ports {
		if ports[i].Port == port && ports[i].NodePort != 0 {
			return ports[i].NodePort
		}
	}
	return 0
}

// duplicate reports whether one of ports has the node port and protocol of port.
func duplicate(ports []corev1.ServicePort, port corev1.ServicePort) bool {
	return slices.ContainsFunc(ports, func(p corev1.ServicePort) bool {
		return p.NodePort != 0 && p.NodePort == port.NodePort && p.Protocol == port.Protocol
	})
}
