package node

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/hostnet"
)

// view is what others may know about a Pod's containers: a worker shows it after each decision.
type view struct {
	sandbox    string
	ips        []netip.Addr
	containers map[string]viewed
	ports      []hostnet.HostPort
}

type viewed struct {
	id      string
	attempt uint32
}

// expose shows what is known now.
func (w *worker) expose() {
	v := &view{sandbox: w.o.Sandbox.ID, containers: make(map[string]viewed, len(w.o.Containers))}
	for name, c := range w.o.Containers {
		if c.Current != nil {
			v.containers[name] = viewed{c.Current.ID, c.Current.Attempt}
		}
	}
	if w.o.Sandbox.Ready {
		v.ips = w.podIPs()
		v.ports = portsOf(w.first, w.o.Sandbox.IPs)
	}
	before := w.view.Swap(v)
	if before == nil {
		before = &view{}
	}
	if !slices.Equal(before.ports, v.ports) {
		w.portsChanged()
	}
}

// portsOf are the ports of the node that lead to a Pod, one for each of its addresses. A Pod on the
// node's network has them anyway.
func portsOf(pod *corev1.Pod, ips []netip.Addr) []hostnet.HostPort {
	if pod.Spec.HostNetwork {
		return nil
	}
	var all []hostnet.HostPort
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, port := range list[i].Ports {
				if port.HostPort != 0 {
					all = append(all, portOf(port, ips)...)
				}
			}
		}
	}
	return all
}

func portOf(port corev1.ContainerPort, ips []netip.Addr) []hostnet.HostPort {
	protocol, ok := map[corev1.Protocol]uint8{corev1.ProtocolTCP: unix.IPPROTO_TCP, corev1.ProtocolUDP: unix.IPPROTO_UDP, corev1.ProtocolSCTP: unix.IPPROTO_SCTP}[port.Protocol]
	if !ok {
		return nil
	}
	at, err := netip.ParseAddr(port.HostIP) // validated; "" is the zero address
	everywhere := err != nil
	var all []hostnet.HostPort
	for _, ip := range ips {
		if !everywhere && at.Unmap().Is4() != ip.Is4() {
			continue
		}
		to := hostnet.HostPort{Protocol: protocol, Port: uint16(port.HostPort), To: netip.AddrPortFrom(ip, uint16(port.ContainerPort))} //nolint:gosec // ports
		if !everywhere && !at.IsUnspecified() {
			to.At = at.Unmap()
		}
		all = append(all, to)
	}
	return all
}

// setHostPorts tells which ports of the node lead to Pods now.
func (p *pods) setHostPorts() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []hostnet.HostPort
	for _, w := range p.workers {
		if v := w.view.Load(); v != nil {
			all = append(all, v.ports...)
		}
	}
	p.ports.SetHostPorts(all)
}

// Pod gives a Pod of this node as the API has it.
func (p *pods) Pod(namespace, name string) (*corev1.Pod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod, ok := p.byName[namespace+"/"+name]
	return pod, ok
}

// Pods gives all Pods of this node.
func (p *pods) Pods() []*corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*corev1.Pod, 0, len(p.byName))
	for _, pod := range p.byName {
		all = append(all, pod)
	}
	return all
}

// Container gives the newest instance of a container, which may have ended, and the file it logs to.
func (p *pods) Container(uid types.UID, name string) (id, log string, ok bool) {
	w := p.worker(uid)
	if w == nil || w.view.Load() == nil {
		return "", "", false
	}
	c, ok := w.view.Load().containers[name]
	if !ok || c.id == "" {
		return "", "", false
	}
	return c.id, w.content.Log(w.first, name, c.attempt), true
}

// Sandbox gives the Pod's sandbox.
func (p *pods) Sandbox(uid types.UID) (id string, ok bool) {
	w := p.worker(uid)
	if w == nil || w.view.Load() == nil {
		return "", false
	}
	id = w.view.Load().sandbox
	return id, id != ""
}

// Addresses gives those of a Pod whose sandbox runs.
func (p *pods) Addresses(uid types.UID) []netip.Addr {
	w := p.worker(uid)
	if w == nil || w.view.Load() == nil {
		return nil
	}
	return w.view.Load().ips
}
