package kinds

import (
	"context"
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
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

// ValidatePod checks a Pod, and on update that little changes (C5.5).
func ValidatePod(p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	errs := podSpec(&p.Spec, path)
	for i, c := range p.Spec.Containers {
		errs = append(errs, trimmed(c.Image, path.Child("containers").Index(i).Child("image"))...)
	}
	for i, c := range p.Spec.InitContainers {
		errs = append(errs, trimmed(c.Image, path.Child("initContainers").Index(i).Child("image"))...)
	}
	if old != nil {
		return append(errs, podUpdate(&p.Spec, &old.Spec)...)
	}
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// trimmed is for Pods alone: a template may have spaces that something else removes.
func trimmed(image string, path *field.Path) field.ErrorList {
	if image != strings.TrimSpace(image) {
		return field.ErrorList{field.Invalid(path, image, "must not have leading or trailing whitespace")}
	}
	return nil
}

// ValidatePodTemplate checks the Pod in a PodTemplate.
func ValidatePodTemplate(t, _ *corev1.PodTemplate) field.ErrorList {
	return templateSpec(&t.Template.Spec, field.NewPath("template", "spec"))
}

// templateSpec checks the Pods that a template makes.
func templateSpec(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := podSpec(s, path)
	if len(s.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// podSpec checks a Pod's spec, also within a template, in the order in which upstream does.
func podSpec(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, podVolumes(s.Volumes, path.Child("volumes"))...)
	errs = append(errs, podContainers(s, path)...)
	errs = append(errs, required(s.RestartPolicy, path.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, required(s.DNSPolicy, path.Child("dnsPolicy"),
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metav1validation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, podHost(s, path)...)
	errs = append(errs, podSecurity(s, path.Child("securityContext"))...)
	errs = append(errs, podAffinity(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, podDNS(s, path.Child("dnsConfig"))...)
	errs = append(errs, podGates(s, path)...)
	errs = append(errs, podSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	for _, n := range []struct{ value, path string }{
		{s.ServiceAccountName, "serviceAccountName"}, {s.NodeName, "nodeName"},
	} {
		if n.value != "" {
			errs = append(errs, dnsSubdomain(n.value, path.Child(n.path))...)
		}
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d, utilvalidation.InclusiveRangeError(1, math.MaxInt32)))
	}
	errs = append(errs, podNames(s, path)...)
	errs = append(errs, podTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, hostAliases(s.HostAliases, path.Child("hostAliases"))...)
	if s.PriorityClassName != "" {
		errs = append(errs, dnsSubdomain(s.PriorityClassName, path.Child("priorityClassName"))...)
	}
	if s.RuntimeClassName != nil {
		errs = append(errs, dnsSubdomain(*s.RuntimeClassName, path.Child("runtimeClassName"))...)
	}
	if s.PreemptionPolicy != nil {
		errs = append(errs, required(*s.PreemptionPolicy, path.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	if s.OS != nil {
		errs = append(errs, required(s.OS.Name, path.Child("os", "name"), corev1.Linux, corev1.Windows)...)
	}
	return append(errs, amounts(s.Overhead, path.Child("overhead"))...)
}

// hostAliases: C5.1, C5.2.
func hostAliases(aliases []corev1.HostAlias, path *field.Path) (errs field.ErrorList) {
	for i, alias := range aliases {
		at := path.Index(i)
		errs = append(errs, utilvalidation.IsValidIPForLegacyField(at.Child("ip"), alias.IP, true, nil)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, dnsSubdomain(name, at.Child("hostnames").Index(j))...)
		}
	}
	return errs
}

// podNames checks what the Pod is called inside (C3.3, C3.4).
func podNames(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for _, n := range []struct{ value, path string }{{s.Hostname, "hostname"}, {s.Subdomain, "subdomain"}} {
		if n.value != "" {
			errs = append(errs, dnsLabel(n.value, path.Child(n.path))...)
		}
	}
	if s.HostnameOverride == nil {
		return errs
	}
	name, at := *s.HostnameOverride, path.Child("hostnameOverride")
	errs = append(errs, dnsSubdomain(name, at)...)
	if len(name) > 64 {
		errs = append(errs, field.TooLong(at, name, 64))
	}
	if s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN {
		errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	if s.HostNetwork {
		errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	return errs
}

// podHost checks what a Pod shares with its node: a port on the node's network is the same inside
// and outside, and namespaces of the node exclude a user namespace of the Pod's own.
func podHost(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for i := range s.Containers {
		for j, p := range s.Containers[i].Ports {
			if s.HostNetwork && p.HostPort != p.ContainerPort {
				errs = append(errs, field.Invalid(path.Child("containers").Index(i).Child("ports").Index(j).Child("containerPort"),
					p.ContainerPort, "must match `hostPort` when `hostNetwork` is true"))
			}
		}
	}
	if s.HostUsers != nil && !*s.HostUsers {
		for _, n := range []struct {
			on   bool
			path string
		}{{s.HostNetwork, "hostNetwork"}, {s.HostPID, "hostPID"}, {s.HostIPC, "hostIPC"}} {
			if n.on {
				errs = append(errs, field.Forbidden(path.Child(n.path), "when `hostUsers` is false"))
			}
		}
	}
	return errs
}

// The limits of a resolv.conf.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

func podDNS(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	c := s.DNSConfig
	if s.DNSPolicy == corev1.DNSNone {
		switch {
		case c == nil:
			return field.ErrorList{field.Required(path, "must provide `dnsConfig` when `dnsPolicy` is None")}
		case len(c.Nameservers) == 0:
			return field.ErrorList{field.Required(path.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")}
		}
	}
	if c == nil {
		return nil
	}
	at := path.Child("nameservers")
	if len(c.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(at, c.Nameservers, fmt.Sprintf("must not have more than %d nameservers", maxNameservers)))
	}
	for i, ip := range c.Nameservers {
		errs = append(errs, utilvalidation.IsValidIPForLegacyField(at.Index(i), ip, true, nil)...)
	}
	at = path.Child("searches")
	if len(c.Searches) > maxSearches {
		errs = append(errs, field.Invalid(at, c.Searches, fmt.Sprintf("must not have more than %d search paths", maxSearches)))
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchChars {
		errs = append(errs, field.Invalid(at, c.Searches,
			fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", maxSearchChars)))
	}
	for i, search := range c.Searches {
		if search != "." {
			search = strings.TrimSuffix(search, ".")
			errs = append(errs, faults(at.Index(i), search, utilvalidation.IsDNS1123SubdomainWithUnderscore(search))...)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

func podGates(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for i, g := range s.ReadinessGates {
		errs = append(errs, faults(path.Child("readinessGates").Index(i).Child("conditionType"), g.ConditionType, content.IsLabelKey(string(g.ConditionType)))...)
	}
	seen := map[string]bool{}
	for i, g := range s.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		errs = append(errs, faults(at.Child("name"), g.Name, content.IsLabelKey(g.Name))...)
		if seen[g.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), g.Name))
		}
		seen[g.Name] = true
	}
	return errs
}
