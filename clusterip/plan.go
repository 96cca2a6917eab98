package clusterip

import (
	"math"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Plan is the allocation hook of creating (old is nil) and updating a Service. It fills in what the
// server decides: ipFamilyPolicy, ipFamilies, clusterIP and clusterIPs, node ports and the health
// check's node port, in the order of A2.2 and A2.3, which decides the error that a client sees. The
// static defaults (A1) must be there already; wiping by type (A6.4) and validation (A5) come after.
//
// It changes svc alone and reserves nothing. A dry run plans the same way (A8). When the write that
// follows loses an address to somebody else, plan again from what the client sent, not from an
// object already planned: what the server picked would look like the client's wish. After an error
// svc is to be thrown away.
//
// Errors are ready for the client: a 422 with the field (A3, A4, A7.1-A7.4, A7.9, A9.4), a 500 where
// [IsFull] (A7.5, A9.4) or where a requested health check port cannot be had (A9.8), and one plain
// error (A9.6).
func (s *Space) Plan(svc, old *corev1.Service) error {
	if old == nil && svc.Name == "" {
		return invalid(svc, errNoName)
	}
	if old != nil {
		old = s.asRead(old)
		keepAllocated(svc, old)
	}
	coupleClusterIPs(svc, old)
	if err := s.planFamilies(svc, old); err != nil {
		return err
	}
	if err := s.planAddresses(svc, old); err != nil {
		return err
	}
	return s.planPorts(svc, old)
}

// planAddresses fills clusterIPs up to one address for each family (A6.5, A7). The families are
// tried in their order, where upstream's order is random (A8.6).
func (s *Space) planAddresses(svc, old *corev1.Service) error {
	from := firstMissing(svc, old)
	families := svc.Spec.IPFamilies
	if from >= len(families) {
		return nil
	}
	// All or none: until every family has its address, errors show the list with gaps (A7.7).
	ips := make([]string, len(families))
	copy(ips, svc.Spec.ClusterIPs)
	svc.Spec.ClusterIPs = ips
	var planned [2]string // CheckClusterIPs saw to it that there are no more families
	for i := from; i < len(families); i++ {
		var err error
		if planned[i], err = s.planAddress(svc, old, i); err != nil {
			return err
		}
	}
	copy(ips[from:], planned[from:])
	if from == 0 {
		svc.Spec.ClusterIP = ips[0]
	}
	return nil
}

// planAddress returns clusterIPs[i] if it was asked for and can be had, or else picks an address.
func (s *Space) planAddress(svc, old *corev1.Service, i int) (string, error) {
	family, ip := familyOf(svc.Spec.IPFamilies[i]), svc.Spec.ClusterIPs[i]
	if ip == "" {
		addr, ok := s.pickAddr(family)
		if !ok {
			return "", s.addressesFull(family)
		}
		return addr.String(), nil
	}
	addr, ok := parseAddr(ip)
	if !ok {
		return "", addressRefused(svc, ip, errNoRange)
	}
	if holds(old, addr) {
		return ip, nil
	}
	if err := s.checkAddr(addr); err != nil {
		return "", addressRefused(svc, ip, err)
	}
	return ip, nil
}

// firstMissing returns the position from which on addresses are to be allocated; everything before
// it is old's and stays. A number past the last family means none at all.
func firstMissing(svc, old *corev1.Service) int {
	const none = math.MaxInt
	switch {
	case !mayHaveAddresses(svc) || headless(svc):
		return none
	case old == nil || !mayHaveAddresses(old):
		return 0
	case headless(old):
		return none // rejected by validation, A6.5
	case len(old.Spec.IPFamilies) == 1 && len(svc.Spec.IPFamilies) == 2:
		return 1 // upgrade to dual-stack, A6.3
	}
	return none
}

// holds reports whether svc, which may be nil, is stored with addr.
func holds(svc *corev1.Service, addr netip.Addr) bool {
	if svc == nil {
		return false
	}
	addrs, _ := Claims(svc)
	return slices.Contains(addrs, addr)
}
