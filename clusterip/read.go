package clusterip

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/dualstack"
)

// asRead returns old as a client would read it (A1.10), as far as a plan looks at it, without
// touching old.
func (s *Space) asRead(old *corev1.Service) *corev1.Service {
	if !mayHaveAddresses(old) || len(old.Spec.ClusterIPs) > 0 && len(old.Spec.IPFamilies) > 0 {
		return old // as almost always
	}
	read := *old
	DefaultOnRead(&read, s.families)
	return &read
}

// DefaultOnRead fills in what servers before dual-stack did not store: clusterIPs, ipFamilies and
// ipFamilyPolicy; and hides internalTrafficPolicy of an ExternalName Service (A1.10). Cluster lists
// the families of the Service ranges in flag order. It replaces slices and pointers of svc and
// never writes through them, so that svc may be a shallow copy.
func DefaultOnRead(svc *corev1.Service, cluster []dualstack.Family) {
	if !mayHaveAddresses(svc) {
		svc.Spec.InternalTrafficPolicy = nil
		return
	}
	coupleClusterIPs(svc, nil)
	if len(svc.Spec.IPFamilies) > 0 || len(cluster) == 0 {
		return
	}
	first, second := corev1.IPFamily(cluster[0]), corev1.IPFamily(cluster[0].Other())
	switch {
	case headless(svc) && selectorless(svc):
		setFamilies(svc, corev1.IPFamilyPolicyRequireDualStack, first, second)
	case headless(svc):
		setFamilies(svc, corev1.IPFamilyPolicySingleStack, first)
	case len(svc.Spec.ClusterIPs) > 0:
		families := familiesOf(svc.Spec.ClusterIPs)
		policy := corev1.IPFamilyPolicySingleStack
		if len(families) > 1 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		setFamilies(svc, policy, families...)
	}
}

func setFamilies(svc *corev1.Service, policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) {
	svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies = &policy, families
}

// familiesOf returns the family of each address, "" for what is none.
func familiesOf(ips []string) []corev1.IPFamily {
	families := make([]corev1.IPFamily, len(ips))
	for i, ip := range ips {
		families[i] = ipFamilyOf(ip)
	}
	return families
}

// keepAllocated gives svc what it left out and old has been allocated (A6.1). Families and policy
// are not among that.
func keepAllocated(svc, old *corev1.Service) {
	if mayHaveAddresses(svc) && mayHaveAddresses(old) {
		if svc.Spec.ClusterIP == "" {
			svc.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(svc.Spec.ClusterIPs) == 0 && svc.Spec.ClusterIP == old.Spec.ClusterIP {
			svc.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if wantsNodePorts(svc) && wantsNodePorts(old) {
		keepNodePorts(svc.Spec.Ports, old.Spec.Ports)
	}
	if wantsHealthCheckPort(svc) && wantsHealthCheckPort(old) && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// keepNodePorts fills each missing node port from the old port of the same name, unless another
// port uses that number now.
func keepNodePorts(ports, old []corev1.ServicePort) {
	for i := range ports {
		if ports[i].NodePort != 0 {
			continue
		}
		// Names are unique in a stored Service; should they not be, the last one counts.
		for _, before := range slices.Backward(old) {
			if before.Name == ports[i].Name {
				if !usesNodePort(ports, before.NodePort) {
					ports[i].NodePort = before.NodePort
				}
				break
			}
		}
	}
}

func usesNodePort(ports []corev1.ServicePort, number int32) bool {
	return slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.NodePort == number })
}

// coupleClusterIPs makes clusterIP and clusterIPs agree where a client that knows only the first of
// them cannot have meant otherwise (A4.1, A4.5). It does not derive clusterIP from clusterIPs:
// whoever knows the list must give both.
func coupleClusterIPs(svc, old *corev1.Service) {
	spec := &svc.Spec
	if old == nil {
		if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = []string{spec.ClusterIP}
		}
		return
	}
	before := &old.Spec
	if spec.ClusterIP == before.ClusterIP {
		if len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = slices.Clone(before.ClusterIPs)
		}
		return
	}
	// clusterIP was changed or cleared. A list left as it was is the old client's unread copy.
	if !slices.Equal(spec.ClusterIPs, before.ClusterIPs) {
		return
	}
	spec.ClusterIPs = nil
	if spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

// mayHaveAddresses reports whether svc is of a type that has cluster addresses (or None).
func mayHaveAddresses(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName
}

// headless reports whether svc has no address of its own.
func headless(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == corev1.ClusterIPNone ||
		len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// selectorless reports whether somebody else supplies the endpoints of svc.
func selectorless(svc *corev1.Service) bool { return len(svc.Spec.Selector) == 0 }

// familyOf translates the API's type.
func familyOf(f corev1.IPFamily) dualstack.Family { return dualstack.Family(f) }
