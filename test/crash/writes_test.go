package crash

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// finalizer keeps a deleted Service, with its addresses, until the client takes it away.
const finalizer = "crash.duet.test/hold"

// change does one thing with a name that makes sense in the state it is in.
func (c *client) change(ctx context.Context, e *entry) outcome {
	switch {
	case e.acked == nil:
		return c.create(ctx, e)
	case e.acked.DeletionTimestamp != nil:
		if c.rand.IntN(3) == 0 {
			return c.retype(ctx, e)
		}
		return c.unhook(ctx, e)
	}
	switch c.rand.IntN(12) {
	case 0, 1:
		return c.upgrade(ctx, e)
	case 2, 3:
		return c.downgrade(ctx, e)
	case 4, 5, 6:
		return c.retype(ctx, e)
	case 7, 8:
		return c.replace(ctx, e)
	case 9:
		return c.unhook(ctx, e)
	}
	r := c.core.Delete().Namespace(e.namespace).Resource("services").Name(e.name)
	return c.attempt(ctx, e, &write{what: "delete", deletes: true}, r)
}

func (c *client) create(ctx context.Context, e *entry) outcome {
	svc := c.draft(e)
	w := &write{what: "create", stamp: c.stamp(), check: func(got *corev1.Service) error {
		return holds(got, svc.Spec.ClusterIP, svc.Spec.Ports[0].NodePort)
	}}
	svc.Annotations = map[string]string{stampKey: w.stamp}
	return c.attempt(ctx, e, w, c.core.Post().Namespace(e.namespace).Resource("services").Body(svc))
}

// holds says which requested address or node port got does not have.
func holds(got *corev1.Service, address string, port int32) error {
	if address != "" && got.Spec.ClusterIP != address {
		return fmt.Errorf("it has address %s, asked for %s", got.Spec.ClusterIP, address)
	}
	if port != 0 && got.Spec.Ports[0].NodePort != port {
		return fmt.Errorf("it has node port %d, asked for %d", got.Spec.Ports[0].NodePort, port)
	}
	return nil
}

// draft is a Service of any type and policy; some are nonsense that the server has to refuse.
func (c *client) draft(e *entry) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: e.name, Namespace: e.namespace, Labels: map[string]string{"group": c.group()}}}
	svc.Spec.Selector = map[string]string{"app": e.name}
	svc.Spec.Ports = []corev1.ServicePort{{Name: "one", Port: 80, TargetPort: intstr.FromInt32(8080)}}
	if c.chance(3) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "two", Port: 80, Protocol: corev1.ProtocolUDP},
			corev1.ServicePort{Name: "three", Port: 443})
	}
	if c.chance(4) {
		svc.Finalizers = []string{finalizer}
	}
	svc.Spec.Type = pick(c, corev1.ServiceTypeClusterIP, corev1.ServiceTypeClusterIP, corev1.ServiceTypeClusterIP,
		corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer)
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		svc.Spec.ExternalTrafficPolicy = pick(c, corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster)
		svc.Spec.AllocateLoadBalancerNodePorts = new(c.chance(2))
	}
	if svc.Spec.Type != corev1.ServiceTypeClusterIP && c.chance(3) {
		svc.Spec.Ports[0].NodePort = 30000 + c.rand.Int32N(24)
	}
	if c.chance(12) {
		svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.org"
		return svc
	}
	c.families(svc)
	return svc
}

// families gives svc any policy, families and requested addresses.
func (c *client) families(svc *corev1.Service) {
	four, six := corev1.IPv4Protocol, corev1.IPv6Protocol
	svc.Spec.IPFamilyPolicy = pick(c, nil, ptr.To(corev1.IPFamilyPolicySingleStack),
		ptr.To(corev1.IPFamilyPolicyPreferDualStack), ptr.To(corev1.IPFamilyPolicyRequireDualStack), ptr.To(corev1.IPFamilyPolicyRequireDualStack))
	switch c.rand.IntN(10) {
	case 0: // the first of these is nonsense for SingleStack
		svc.Spec.IPFamilies = pick(c, []corev1.IPFamily{four, six}, []corev1.IPFamily{four}, []corev1.IPFamily{six, four}, []corev1.IPFamily{six})
	case 1:
		svc.Spec.ClusterIP = corev1.ClusterIPNone
	case 2, 3: // few, so that several clients ask for the same
		svc.Spec.ClusterIP = pick(c, fmt.Sprintf("10.96.0.%d", 1+c.rand.IntN(30)), fmt.Sprintf("fd00:10:96::%x", 1+c.rand.IntN(30)))
	case 4:
		n := 16 + c.rand.IntN(30)
		svc.Spec.ClusterIPs = []string{fmt.Sprintf("fd00:10:96::%x", n), fmt.Sprintf("10.96.0.%d", n)}
		svc.Spec.ClusterIP = svc.Spec.ClusterIPs[0]
	}
}

func (c *client) upgrade(ctx context.Context, e *entry) outcome {
	policy := pick(c, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicyPreferDualStack)
	w := &write{what: "upgrade", check: func(got *corev1.Service) error { return has(got, policy, 2) }}
	return c.attempt(ctx, e, w, c.patch(e, w, fmt.Sprintf(`"ipFamilyPolicy":%q`, policy), ""))
}

func (c *client) downgrade(ctx context.Context, e *entry) outcome {
	w := &write{what: "downgrade", check: func(got *corev1.Service) error { return has(got, corev1.IPFamilyPolicySingleStack, 1) }}
	return c.attempt(ctx, e, w, c.patch(e, w, `"ipFamilyPolicy":"SingleStack"`, ""))
}

// has says how the policy and the number of families of got differ from those wanted.
func has(got *corev1.Service, policy corev1.IPFamilyPolicy, families int) error {
	if p := ptr.Deref(got.Spec.IPFamilyPolicy, ""); p != policy || len(got.Spec.IPFamilies) != families {
		return fmt.Errorf("it has policy %s and families %v, want %s", p, got.Spec.IPFamilies, policy)
	}
	if got.Spec.ClusterIP != corev1.ClusterIPNone && len(got.Spec.ClusterIPs) != families {
		return fmt.Errorf("it has addresses %v, want %d", got.Spec.ClusterIPs, families)
	}
	return nil
}

func (c *client) retype(ctx context.Context, e *entry) outcome {
	to := pick(c, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)
	name := "null"
	if to == corev1.ServiceTypeExternalName {
		name = `"example.org"`
	}
	w := &write{what: "retype", check: func(got *corev1.Service) error {
		if got.Spec.Type != to {
			return fmt.Errorf("it is of type %s, want %s", got.Spec.Type, to)
		}
		return nil
	}}
	return c.attempt(ctx, e, w, c.patch(e, w, fmt.Sprintf(`"type":%q,"externalName":%s`, to, name), ""))
}

// replace puts the object as it was acknowledged, with one port more or less and another group.
func (c *client) replace(ctx context.Context, e *entry) outcome {
	svc := e.acked.DeepCopy()
	w := &write{what: "replace", stamp: c.stamp()}
	svc.Annotations[stampKey] = w.stamp
	svc.Labels["group"] = c.group()
	if n := len(svc.Spec.Ports); n > 1 {
		svc.Spec.Ports = svc.Spec.Ports[:n-1]
	} else {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "four", Port: 8443})
	}
	want := len(svc.Spec.Ports)
	w.check = func(got *corev1.Service) error {
		if len(got.Spec.Ports) != want {
			return fmt.Errorf("it has %d ports, want %d", len(got.Spec.Ports), want)
		}
		return nil
	}
	return c.attempt(ctx, e, w, c.core.Put().Namespace(e.namespace).Resource("services").Name(e.name).Body(svc))
}

// unhook takes the finalizers away; of a deleted Service that is the end.
func (c *client) unhook(ctx context.Context, e *entry) outcome {
	w := &write{what: "unhook", unhooks: true}
	return c.attempt(ctx, e, w, c.patch(e, w, "", `,"finalizers":null`))
}

func (c *client) chance(oneIn int) bool { return c.rand.IntN(oneIn) == 0 }

func pick[T any](c *client, from ...T) T { return from[c.rand.IntN(len(from))] }
