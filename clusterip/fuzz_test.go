package clusterip

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// choices turns fuzzed bytes into decisions; when they run out, every decision is the first.
type choices struct {
	data []byte
	text string
}

func (c *choices) below(n int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % n
}

func choose[T any](c *choices, from ...T) T { return from[c.below(len(from))] }

func (c *choices) ip() string {
	return choose(c, "", "None", "10.96.0.1", "10.96.0.9", "10.96.0.0", "10.96.0.31", "10.97.1.1", "fd00::1", "fd00::9",
		"FD00:0::9", "fd00::", "fd01::5", "::ffff:10.96.0.9", "010.96.0.9", "fe80::1%eth0", c.text)
}

func (c *choices) service(name string) *corev1.Service {
	svc := service(withType(choose(c, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer,
		corev1.ServiceTypeExternalName, corev1.ServiceType(c.text))))
	svc.Name = name
	spec := &svc.Spec
	spec.Selector = choose(c, map[string]string{"app": "web"}, nil)
	if policy := choose(c, "", "S", "P", "R", "X"); policy == "X" {
		withPolicy(corev1.IPFamilyPolicy(c.text))(svc)
	} else {
		spec.IPFamilyPolicy = policyNamed(policy)
	}
	for range c.below(4) {
		spec.IPFamilies = append(spec.IPFamilies, choose(c, corev1.IPv4Protocol, corev1.IPv6Protocol, corev1.IPFamily(c.text)))
	}
	for range c.below(4) {
		spec.ClusterIPs = append(spec.ClusterIPs, c.ip())
	}
	if spec.ClusterIP = c.ip(); c.below(3) > 0 && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	spec.Ports = nil
	for i := range c.below(5) {
		spec.Ports = append(spec.Ports, corev1.ServicePort{
			Name: fmt.Sprint(i), Protocol: choose(c, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP),
			Port: choose(c, int32(53), 80, 443), NodePort: c.nodePort(),
		})
	}
	spec.AllocateLoadBalancerNodePorts = choose(c, nil, new(true), new(false))
	spec.ExternalTrafficPolicy = choose(c, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	spec.HealthCheckNodePort = c.nodePort()
	return svc
}

func (c *choices) nodePort() int32 {
	return choose[int32](c, 0, 30000, 30001, 30039, 29999, -1, 1<<31-1)
}

// space builds a cluster out of the fuzzed choices; called twice with the same data it returns the
// same cluster.
func (c *choices) space(seed uint64) *Space {
	s := newTestSpace(choose(c, "10.96.0.0/27", "fd00::/64", "10.96.0.0/28,fd00::/124", "fd00::/112,10.96.0.0/27", "fd00::/3,10.0.0.0/8"))
	s.random, s.nodePorts = seeded(seed), PortRange{30000, choose[int32](c, 30039, 30003)}
	ranges := []Range{{Name: "kubernetes", Prefixes: s.prefixes(), Ready: c.below(8) > 0}}
	for i := range c.below(3) {
		ranges = append(ranges, Range{
			Name:     fmt.Sprint(i),
			Prefixes: prefixes(choose(c, "10.97.0.0/24", "10.96.0.0/30", "fd01::/126", "10.97.1.0/32,fd01::/128")),
			Ready:    c.below(2) == 0,
		})
	}
	s.SetRanges(ranges)
	for range c.below(40) {
		s.Apply(2, []Change{{Port: 30000 + int32(c.below(40)), Taken: true}})
		for _, base := range []string{"10.96.0.0", "fd00::"} {
			a := netip.MustParseAddr(base)
			for range c.below(32) {
				a = a.Next()
			}
			s.Apply(2, []Change{{Addr: a, Taken: true}})
		}
	}
	return s
}

func (s *Space) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, u := range s.Usage() {
		all = append(all, u.Prefix)
	}
	return all
}

// Whatever a client sends, whatever is taken: no panic; the old object is left alone; the same seed
// and state give the same plan; and what the Service gains is free, in a ready range, and distinct.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{3, 0, 1, 0, 5, 1, 2}, "IPv5", uint64(1))
	f.Add([]byte{2, 1, 1, 2, 3, 1, 4, 9, 9, 9, 9, 1, 0, 2, 2, 1, 0, 2, 2, 3, 1, 1, 1, 1, 1, 0}, "10.96.0.5", uint64(2))
	f.Add([]byte{4, 0, 0, 0, 0, 1, 2, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1, 1, 0, 2, 0, 0, 2, 1, 1}, "", uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, text string, seed uint64) {
		run := func() (s *Space, svc, old *corev1.Service, err error) {
			c := &choices{slices.Clone(data), text}
			s = c.space(seed)
			if c.below(2) == 1 {
				old = stored(s, c)
			}
			svc = c.service(choose(c, "web", ""))
			before := old.DeepCopy()
			err = s.Plan(svc, old)
			if !reflect.DeepEqual(before, old) {
				t.Fatalf("the old object changed from\n%+v\nto\n%+v", before, old)
			}
			return s, svc, old, err
		}
		s, svc, old, err := run()
		_, again, _, errAgain := run()
		if !reflect.DeepEqual(svc, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("two plans:\n%+v %v\n%+v %v", svc.Spec, err, again.Spec, errAgain)
		}
		if err == nil && !validationRefuses(svc, old) {
			checkGains(t, s, svc, old)
		}
	})
}

// stored returns a Service that a client could have stored, or nil.
func stored(s *Space, c *choices) *corev1.Service {
	old := c.service("web")
	if s.Plan(old, nil) != nil {
		return nil
	}
	take(s, 3, old)
	return old
}

// validationRefuses stands in for the rules about clusterIPs that package apiserver/service applies
// to the outcome of a plan (A6.6).
func validationRefuses(svc, old *corev1.Service) bool {
	if old == nil || !mayHaveAddresses(svc) || !mayHaveAddresses(old) {
		return false
	}
	if headless(svc) != headless(old) {
		return true
	}
	for i := range min(len(svc.Spec.ClusterIPs), len(old.Spec.ClusterIPs)) {
		if svc.Spec.ClusterIPs[i] != old.Spec.ClusterIPs[i] {
			return true
		}
	}
	return false
}

func checkGains(t *testing.T, s *Space, svc, old *corev1.Service) {
	t.Helper()
	addrs, ports := Claims(svc)
	var heldAddrs []netip.Addr
	var heldPorts []int32
	if old != nil {
		heldAddrs, heldPorts = Claims(old)
	}
	if mayHaveAddresses(svc) && !headless(svc) && len(addrs) != len(svc.Spec.IPFamilies) {
		t.Errorf("families %v, addresses %v of %q", svc.Spec.IPFamilies, addrs, svc.Spec.ClusterIPs)
	}
	for i, a := range addrs {
		if slices.Contains(heldAddrs, a) {
			continue
		}
		if err := s.checkAddr(a); err != nil || slices.Contains(addrs[:i], a) {
			t.Errorf("gained %s: %v", a, err)
		}
	}
	for _, p := range ports {
		if !slices.Contains(heldPorts, p) && (s.portTaken(p) || !s.nodePorts.Contains(p)) {
			t.Errorf("gained node port %d", p)
		}
	}
	if hc := svc.Spec.HealthCheckNodePort; wantsHealthCheckPort(svc) && (old == nil || !wantsHealthCheckPort(old)) && usesNodePort(svc.Spec.Ports, hc) {
		t.Errorf("node port %d serves health checks too", hc)
	}
}
