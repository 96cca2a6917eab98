package defaults

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Pod defaults a Pod. Unlike the Pods in templates it also gets enableServiceLinks, requests from
// limits, host ports on the host network, and podIP in step with podIPs (D1.7).
func Pod(p *corev1.Pod) {
	PodSpec(&p.Spec)
	point(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			requestsFromLimits(&list[i].Resources)
			if p.Spec.HostNetwork {
				hostPorts(list[i].Ports)
			}
		}
	}
	p.Status.PodIP, p.Status.PodIPs = inStep(p.Status.PodIP, p.Status.PodIPs,
		func(ip string) corev1.PodIP { return corev1.PodIP{IP: ip} }, func(ip corev1.PodIP) string { return ip.IP })
}

// inStep keeps a single field and the list that came later equal (D1.7): a single value that
// differs from the head of the list replaces the list.
func inStep[T any](single string, list []T, wrap func(string) T, unwrap func(T) string) (string, []T) {
	switch {
	case single == "" && len(list) > 0:
		return unwrap(list[0]), list
	case single != "" && (len(list) == 0 || unwrap(list[0]) != single):
		return single, []T{wrap(single)}
	}
	return single, list
}

func requestsFromLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

func hostPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		fill(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

// PodTemplate defaults a PodTemplate.
func PodTemplate(t *corev1.PodTemplate) { PodSpec(&t.Template.Spec) }

// PodSpec defaults the spec of a Pod or of a template.
func PodSpec(s *corev1.PodSpec) {
	fill(&s.DNSPolicy, corev1.DNSClusterFirst)
	fill(&s.RestartPolicy, corev1.RestartPolicyAlways)
	fill(&s.SchedulerName, corev1.DefaultSchedulerName)
	point(&s.SecurityContext, corev1.PodSecurityContext{})
	point(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	// One field under two names; the newer one wins.
	fill(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	milli(s.Overhead)
	for i := range s.Volumes {
		volume(&s.Volumes[i])
	}
	for i := range s.InitContainers {
		container(&s.InitContainers[i])
	}
	for i := range s.Containers {
		container(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		container(&c)
		s.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
}

func container(c *corev1.Container) {
	fill(&c.ImagePullPolicy, pullPolicy(c.Image))
	fill(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	fill(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	milli(c.Resources.Limits)
	milli(c.Resources.Requests)
	for i := range c.Ports {
		fill(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			fieldRef(from.FieldRef)
		}
	}
	probe(c.LivenessProbe)
	probe(c.ReadinessProbe)
	probe(c.StartupProbe)
	if c.Lifecycle != nil {
		hook(c.Lifecycle.PostStart)
		hook(c.Lifecycle.PreStop)
	}
}

// pullPolicy is Always for the tag latest, said or implied, else IfNotPresent. A digest without a
// tag implies none.
func pullPolicy(image string) corev1.PullPolicy {
	name, _, digest := strings.Cut(image, "@")
	base := name[strings.LastIndex(name, "/")+1:]
	_, tag, tagged := strings.Cut(base, ":")
	if tag == "latest" || !tagged && !digest {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func fieldRef(f *corev1.ObjectFieldSelector) {
	if f != nil {
		fill(&f.APIVersion, "v1")
	}
}

func probe(p *corev1.Probe) {
	if p == nil {
		return
	}
	fill(&p.TimeoutSeconds, 1)
	fill(&p.PeriodSeconds, 10)
	fill(&p.SuccessThreshold, 1)
	fill(&p.FailureThreshold, 3)
	httpGet(p.HTTPGet)
	if p.GRPC != nil {
		point(&p.GRPC.Service, "")
	}
}

func hook(h *corev1.LifecycleHandler) {
	if h != nil {
		httpGet(h.HTTPGet)
	}
}

func httpGet(g *corev1.HTTPGetAction) {
	if g == nil {
		return
	}
	fill(&g.Path, "/")
	fill(&g.Scheme, corev1.URISchemeHTTP)
}
