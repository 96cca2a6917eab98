package loadbalancer

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/dualstack"
)

const (
	// Finalizer keeps a Service until its addresses are given back (D7.1).
	Finalizer = "service.kubernetes.io/load-balancer-cleanup"
	// Annotation with the addresses that a Service asks for, one of each family: "172.30.0.200,fd00:172:30::f001".
	// spec.loadBalancerIP is heard too.
	Annotation = "duetk8s.io/load-balancer-addresses"
	// Class of Services that are meant for this load balancer by name (D7.2); those without any are, too.
	Class = "duetk8s.io/load-balancer"
	// Condition tells whether a Service has an address of each of its families.
	Condition = "LoadBalancerAddresses"
)

// ours tells whether a Service is to have addresses from here (D7.2). Where there are no pools, load
// balancers are somebody else's unless they name this one.
func ours(svc *corev1.Service, pools bool) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.DeletionTimestamp == nil && meant(svc, pools)
}

func meant(svc *corev1.Service, pools bool) bool {
	if svc.Spec.LoadBalancerClass != nil {
		return *svc.Spec.LoadBalancerClass == Class
	}
	return pools
}

// served tells whether a Service has something from here, which is taken back when it is no longer
// ours: others use the same finalizer.
func served(svc *corev1.Service, pools bool) bool {
	return slices.Contains(svc.Finalizers, Finalizer) &&
		(meant(svc, pools) || meta.FindStatusCondition(svc.Status.Conditions, Condition) != nil)
}

// wish reads what a Service asks for; addresses that cannot be read become problems.
func wish(svc *corev1.Service, held []netip.Addr) (w Wish, problems []Problem) {
	w.Held = held
	for _, f := range svc.Spec.IPFamilies {
		w.Families = append(w.Families, dualstack.Family(f))
	}
	w.All = svc.Spec.IPFamilyPolicy != nil && *svc.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack
	for text := range strings.SplitSeq(svc.Spec.LoadBalancerIP+","+svc.Annotations[Annotation], ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			problems = append(problems, Problem{Reason: ReasonInvalid, Text: "the requested address " + text + " is no IP address"})
			continue
		}
		if addr = addr.Unmap(); !slices.Contains(w.Requested, addr) {
			w.Requested = append(w.Requested, addr)
		}
	}
	return w, problems
}

// addresses that the status of a Service names.
func addresses(svc *corev1.Service) (out []netip.Addr) {
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(in.IP); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// desired returns the Service with its status and finalizer as they should be.
func desired(svc *corev1.Service, got []netip.Addr, problems []Problem) *corev1.Service {
	out := svc.DeepCopy()
	if !slices.Contains(out.Finalizers, Finalizer) {
		out.Finalizers = append(out.Finalizers, Finalizer)
	}
	mode := corev1.LoadBalancerIPModeVIP
	out.Status.LoadBalancer.Ingress = nil
	for _, a := range got {
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode})
	}
	condition := metav1.Condition{
		Type: Condition, Status: metav1.ConditionTrue, Reason: ReasonAssigned, ObservedGeneration: svc.Generation,
		Message: "the Service has an address of each of its families",
	}
	if len(problems) > 0 {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, problems[0].Reason, explain(problems)
	}
	meta.SetStatusCondition(&out.Status.Conditions, condition)
	return out
}

// released returns the Service without anything that is from here.
func released(svc *corev1.Service) *corev1.Service {
	out := svc.DeepCopy()
	out.Finalizers = slices.DeleteFunc(out.Finalizers, func(f string) bool { return f == Finalizer })
	out.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	meta.RemoveStatusCondition(&out.Status.Conditions, Condition)
	return out
}

func explain(problems []Problem) string {
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.Text
		if p.Family != "" && !strings.Contains(p.Text, string(p.Family)) {
			texts[i] = string(p.Family) + ": " + p.Text
		}
	}
	return strings.Join(texts, "; ")
}
