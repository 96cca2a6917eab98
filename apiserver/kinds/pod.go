package kinds

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PreparePod gives a new Pod its first status; afterwards the quality-of-service class stays.
func PreparePod(_ context.Context, p, old *corev1.Pod) {
	if old != nil {
		p.Status.QOSClass = old.Status.QOSClass
		return
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qualityOfService(&p.Spec)}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

// qualityOfService is BestEffort without any request or limit of CPU and memory, Guaranteed when
// every container limits both and requests what it limits, else Burstable.
func qualityOfService(s *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, asked := true, false
	check := func(r corev1.ResourceRequirements) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := positive(r.Requests, name), positive(r.Limits, name)
			asked = asked || !request.IsZero() || !limit.IsZero()
			// A limit without request was defaulted to both.
			guaranteed = guaranteed && !limit.IsZero() && (request.IsZero() || request.Cmp(limit) == 0)
		}
	}
	if s.Resources != nil {
		check(*s.Resources)
	} else {
		for _, c := range s.InitContainers {
			check(c.Resources)
		}
		for _, c := range s.Containers {
			check(c.Resources)
		}
	}
	switch {
	case !asked:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// positive is a quantity, or zero when it is absent or negative.
func positive(list corev1.ResourceList, name corev1.ResourceName) (q resource.Quantity) {
	if found := list[name]; found.Sign() > 0 {
		q = found
	}
	return q
}

// podUpdates names what an update may change (C5.5).
const podUpdates = "pod updates may not change fields other than " +
	"`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// ValidatePod checks containers and host aliases, and on update that little changes (C5.5).
func ValidatePod(p, old *corev1.Pod) field.ErrorList {
	errs := podSpec(&p.Spec, field.NewPath("spec"))
	if old != nil {
		errs = append(errs, podUpdate(&p.Spec, &old.Spec)...)
	}
	return errs
}

// podUpdate compares with every field that may change set back to its old value.
func podUpdate(s, old *corev1.PodSpec) field.ErrorList {
	path := field.NewPath("spec")
	if len(s.Containers) != len(old.Containers) {
		return field.ErrorList{field.Forbidden(path.Child("containers"), "pod updates may not add or remove containers")}
	}
	if len(s.InitContainers) != len(old.InitContainers) {
		return field.ErrorList{field.Forbidden(path.Child("initContainers"), "pod updates may not add or remove containers")}
	}
	back := s.DeepCopy()
	for i := range back.Containers {
		back.Containers[i].Image = old.Containers[i].Image
	}
	for i := range back.InitContainers {
		back.InitContainers[i].Image = old.InitContainers[i].Image
	}
	back.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	if g, was := s.TerminationGracePeriodSeconds, old.TerminationGracePeriodSeconds; g != nil && *g == 1 && was != nil && *was < 0 {
		back.TerminationGracePeriodSeconds = was
	}
	errs := tolerationsAdded(s.Tolerations, old.Tolerations, path.Child("tolerations"))
	back.Tolerations = old.Tolerations
	if len(s.SchedulingGates) <= len(old.SchedulingGates) { // gates may be removed, never added
		back.SchedulingGates = old.SchedulingGates
		if len(old.SchedulingGates) > 0 { // and placement may be narrowed meanwhile
			back.NodeSelector, back.Affinity = old.NodeSelector, old.Affinity
		}
	}
	if !equality.Semantic.DeepEqual(back, old) {
		errs = append(errs, field.Forbidden(path, podUpdates+"\n"+diff.Diff(old, back)))
	}
	return errs
}

func tolerationsAdded(tolerations, old []corev1.Toleration, path *field.Path) field.ErrorList {
	for _, was := range old {
		kept := false
		for _, t := range tolerations {
			was.TolerationSeconds = t.TolerationSeconds // the time may change
			kept = kept || equality.Semantic.DeepEqual(was, t)
		}
		if !kept {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

// podSpec checks what a Pod cannot do without.
func podSpec(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	names := sets.New[string]()
	for i := range s.Containers {
		errs = append(errs, podContainer(&s.Containers[i], names, path.Child("containers").Index(i))...)
	}
	for i := range s.InitContainers {
		errs = append(errs, podContainer(&s.InitContainers[i], names, path.Child("initContainers").Index(i))...)
	}
	errs = append(errs, required(s.RestartPolicy, path.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, required(s.DNSPolicy, path.Child("dnsPolicy"),
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	for i, alias := range s.HostAliases { // C5.1, C5.2
		at := path.Child("hostAliases").Index(i)
		errs = append(errs, utilvalidation.IsValidIPForLegacyField(at.Child("ip"), alias.IP, true, nil)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, dnsSubdomain(name, at.Child("hostnames").Index(j))...)
		}
	}
	return errs
}

func podContainer(c *corev1.Container, names sets.Set[string], path *field.Path) (errs field.ErrorList) {
	switch {
	case c.Name == "":
		errs = append(errs, field.Required(path.Child("name"), ""))
	case names.Has(c.Name):
		errs = append(errs, field.Duplicate(path.Child("name"), c.Name))
	default:
		errs = append(errs, dnsLabel(c.Name, path.Child("name"))...)
	}
	names.Insert(c.Name)
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), ""))
	}
	for i, p := range c.Ports {
		at := path.Child("ports").Index(i)
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(p.ContainerPort, at.Child("containerPort"))...)
		}
		errs = append(errs, required(p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	return errs
}

func portNumber(port int32, path *field.Path) field.ErrorList {
	return faults(path, port, utilvalidation.IsValidPortNum(int(port)))
}

// ValidatePodTemplate checks the Pod in a PodTemplate.
func ValidatePodTemplate(t, _ *corev1.PodTemplate) field.ErrorList {
	return podSpec(&t.Template.Spec, field.NewPath("template", "spec"))
}

// ValidatePodStatus checks the addresses that the node agent reports, one per family at most
// (D3.1, D3.2). Addresses the old status held already are tolerated.
func ValidatePodStatus(p, old *corev1.Pod) field.ErrorList {
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
