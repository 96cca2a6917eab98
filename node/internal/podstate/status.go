package podstate

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status is what the API is told: what it knew, with all that a node is the one to say.
func (p *plan) status() corev1.PodStatus {
	s := *p.pod.Status.DeepCopy()
	s.ObservedGeneration = p.pod.Generation
	if s.StartTime == nil {
		s.StartTime = &metav1.Time{Time: p.o.Now}
	}
	p.addresses(&s)
	if f := p.o.Rejected; f != nil {
		// Nothing else is said of one that this node has never had.
		s.Phase, s.Reason, s.Message = corev1.PodFailed, f.Reason, "Pod was rejected: "+f.Message
		return s
	}
	if Over(p.pod.Status.Phase) && p.nothingKnown() {
		// The last word was said before this agent started.
		p.conditions(&s)
		return s
	}
	s.InitContainerStatuses = p.containerStatuses(p.pod.Spec.InitContainers, s.InitContainerStatuses)
	s.ContainerStatuses = p.containerStatuses(p.pod.Spec.Containers, s.ContainerStatuses)
	slices.SortFunc(s.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) })
	if p.verdict != nil {
		s.Reason, s.Message = p.verdict.Reason, p.verdict.Message
	}
	s.Phase = p.phase(&s)
	p.conditions(&s)
	return s
}

// nothingKnown: the runtime has no container of the Pod.
func (p *plan) nothingKnown() bool {
	for _, c := range p.o.Containers {
		if c.Current != nil {
			return false
		}
	}
	return true
}

// addresses of node and Pod (D3). Those of a Pod whose sandbox is gone stay the last ones.
func (p *plan) addresses(s *corev1.PodStatus) {
	if hosts := onePerFamily(p.o.HostIPs); len(hosts) > 0 {
		s.HostIP, s.HostIPs = hosts[0].String(), nil
		for _, ip := range hosts {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip.String()})
		}
	}
	ips := p.o.Sandbox.IPs
	if p.pod.Spec.HostNetwork {
		// Set once; a second family is added when the node gets one (D3.4).
		ips = nil
		if now := onePerFamily(p.o.HostIPs); p.o.Sandbox.Ready && len(s.PodIPs) < len(now) {
			ips = now
			if len(s.PodIPs) == 1 {
				if first, err := netip.ParseAddr(s.PodIPs[0].IP); err == nil {
					ips = onePerFamily(append([]netip.Addr{first}, now...))
				}
			}
		}
	}
	if len(ips) == 0 {
		return
	}
	s.PodIP, s.PodIPs = ips[0].String(), nil
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip.String()})
	}
}

// onePerFamily keeps the first address of each family.
func onePerFamily(ips []netip.Addr) []netip.Addr {
	var kept []netip.Addr
	for _, ip := range ips {
		if !slices.ContainsFunc(kept, func(k netip.Addr) bool { return k.Is4() == ip.Is4() }) {
			kept = append(kept, ip)
		}
	}
	return kept
}

// SortIPs orders the addresses that a runtime gave a Pod by rule D3.3: the first of each family, and
// first that of the node's primary family.
func SortIPs(ips, hostIPs []netip.Addr) []netip.Addr {
	primary4 := len(hostIPs) == 0 || hostIPs[0].Is4()
	var sorted []netip.Addr
	for _, ip := range ips {
		sorted = append(sorted, ip.Unmap())
	}
	sorted = onePerFamily(sorted)
	slices.SortStableFunc(sorted, func(a, b netip.Addr) int {
		switch {
		case a.Is4() == b.Is4():
			return 0
		case a.Is4() == primary4:
			return -1
		}
		return 1
	})
	return sorted
}

func (p *plan) containerStatuses(containers []corev1.Container, old []corev1.ContainerStatus) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for i := range containers {
		c := &containers[i]
		var before corev1.ContainerStatus
		if at := slices.IndexFunc(old, func(s corev1.ContainerStatus) bool { return s.Name == c.Name }); at >= 0 {
			before = old[at]
		}
		statuses = append(statuses, p.containerStatus(c, before))
	}
	return statuses
}

// containerStatus says about one container what kubectl shows of it.
func (p *plan) containerStatus(c *corev1.Container, before corev1.ContainerStatus) corev1.ContainerStatus {
	known := p.o.Containers[c.Name]
	s := corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, Started: new(bool),
		LastTerminationState: before.LastTerminationState,
		VolumeMounts:         mounts(c),
	}
	if known.Previous != nil && known.Previous.State == Exited {
		s.LastTerminationState.Terminated = known.Previous.terminated()
	}
	waiting, waits := p.waiting[c.Name]
	i := known.Current
	if i == nil {
		if !waits {
			waiting = corev1.ContainerStateWaiting{Reason: p.notYet(c)}
		}
		s.State.Waiting = &waiting
		return s
	}
	s.RestartCount = int32(i.Attempt) //nolint:gosec // counted from 0 by this agent
	s.Image, s.ImageID, s.ContainerID = i.Image, i.ImageID, containerID(i)
	if c.Lifecycle != nil {
		s.StopSignal = c.Lifecycle.StopSignal
	}
	switch {
	case i.State == Running:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(i.StartedAt)}
		s.Resources, s.AllocatedResources = c.Resources.DeepCopy(), c.Resources.Requests.DeepCopy()
		*s.Started = known.Started || isInit(p.pod, c.Name) && !sidecar(c)
		s.Ready = known.Ready && *s.Started && (!isInit(p.pod, c.Name) || sidecar(c))
	case i.State == Exited && waits:
		s.State.Waiting = &waiting
		s.LastTerminationState.Terminated = i.terminated()
	case i.State == Exited:
		s.State.Terminated = i.terminated()
		s.Ready = i.ExitCode == 0 && isInit(p.pod, c.Name) && !sidecar(c)
	case i.State == Unknown:
		s.State.Waiting = &corev1.ContainerStateWaiting{}
	default:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
	return s
}

// notYet is why a container is not there that nothing is wrong with.
func (p *plan) notYet(c *corev1.Container) string {
	if p.initialized || isInit(p.pod, c.Name) && p.o.Sandbox.ID == "" || len(p.pod.Spec.InitContainers) == 0 {
		return "ContainerCreating"
	}
	return "PodInitializing"
}

func containerID(i *Instance) string {
	if i.ID == "" {
		return ""
	}
	return "containerd://" + i.ID
}

func (i *Instance) terminated() *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ExitCode: i.ExitCode, Reason: i.Reason, Message: i.Message, ContainerID: containerID(i),
		StartedAt: metav1.NewTime(i.StartedAt), FinishedAt: metav1.NewTime(i.FinishedAt),
	}
}

func mounts(c *corev1.Container) []corev1.VolumeMountStatus {
	var all []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			s.RecursiveReadOnly = new(corev1.RecursiveReadOnlyDisabled)
		}
		all = append(all, s)
	}
	return all
}
