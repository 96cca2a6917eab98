package kinds

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PreparePodStatus keeps the quality-of-service class, which agents need not repeat.
func PreparePodStatus(_ context.Context, p, old *corev1.Pod) {
	if p.Status.QOSClass == "" {
		p.Status.QOSClass = old.Status.QOSClass
	}
}

// ValidatePodStatus checks the addresses that the node agent reports, one per family at most
// (D3.1, D3.2), and that no container comes back that the restart policy lets rest. Addresses the
// old status held already are tolerated.
func ValidatePodStatus(p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("status")
	var errs field.ErrorList
	for i, c := range p.Status.Conditions {
		errs = append(errs, faults(path.Child("conditions").Index(i).Child("type"), c.Type, content.IsLabelKey(string(c.Type)))...)
	}
	if was := old.Status.QOSClass; was != "" && p.Status.QOSClass != was {
		errs = append(errs, field.Invalid(path.Child("qosClass"), p.Status.QOSClass, "field is immutable"))
	}
	errs = append(errs, transitions(p.Spec.Containers, p.Status.ContainerStatuses, old.Status.ContainerStatuses, p.Spec.RestartPolicy, path.Child("containerStatuses"))...)
	errs = append(errs, transitions(p.Spec.InitContainers, p.Status.InitContainerStatuses, old.Status.InitContainerStatuses, p.Spec.RestartPolicy, path.Child("initContainerStatuses"))...)
	return append(errs, podAddresses(p, old)...)
}

// transitions reports containers that ended for good and are said to wait or run again. Those with
// a restart policy of their own are left to it, and a Pod that restarts always may do so.
func transitions(specs []corev1.Container, now, old []corev1.ContainerStatus, policy corev1.RestartPolicy, path *field.Path) (errs field.ErrorList) {
	if policy == corev1.RestartPolicyAlways {
		return nil
	}
	own := map[string]bool{}
	for _, c := range specs {
		own[c.Name] = c.RestartPolicy != nil || len(c.RestartPolicyRules) > 0
	}
	for _, was := range old {
		if was.State.Terminated == nil || own[was.Name] || was.State.Terminated.ExitCode != 0 && policy == corev1.RestartPolicyOnFailure {
			continue
		}
		for i := range now {
			if now[i].Name == was.Name && now[i].State.Terminated == nil {
				errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}

func podAddresses(p, old *corev1.Pod) field.ErrorList {
	var ips, known []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range old.Status.PodIPs {
		known = append(known, ip.IP)
	}
	errs := onePerFamily(ips, known, field.NewPath("status", "podIPs"))
	ips, known = nil, nil
	for _, ip := range p.Status.HostIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range old.Status.HostIPs {
		known = append(known, ip.IP)
	}
	path := field.NewPath("status", "hostIPs")
	if len(ips) > 0 && ips[0] != p.Status.HostIP {
		errs = append(errs, field.Invalid(path.Index(0).Child("ip"), ips[0], "must be equal to `hostIP`"))
	}
	return append(errs, onePerFamily(ips, known, path)...)
}

func onePerFamily(ips, known []string, path *field.Path) (errs field.ErrorList) {
	families := map[bool]int{}
	for i, text := range ips {
		errs = append(errs, utilvalidation.IsValidIPForLegacyField(path.Index(i), text, true, known)...)
		if ip, err := netip.ParseAddr(text); err == nil {
			families[ip.Is4()]++
		}
	}
	if families[true] > 1 || families[false] > 1 {
		errs = append(errs, field.Invalid(path, ips, "may specify no more than one IP for each IP family"))
	}
	return errs
}
