package defaults

import (
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Pod defaults a Pod. Unlike the Pods in templates it also gets enableServiceLinks, requests from
// limits, host ports on the host network, and podIP in step with podIPs (D1.7).
func Pod(p *v1.Pod) {
	PodSpec(&p.Spec)
	point(&p.Spec.EnableServiceLinks, v1.DefaultEnableServiceLinks)
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			requestsFromLimits(&list[i].Resources)
			if p.Spec.HostNetwork {
				hostPorts(list[i].Ports)
			}
		}
	}
	p.Status.PodIP, p.Status.PodIPs = inStep(p.Status.PodIP, p.Status.PodIPs,
		func(ip string) v1.PodIP { return v1.PodIP{IP: ip} }, func(ip v1.PodIP) string { return ip.IP })
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

func requestsFromLimits(r *v1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = v1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

func hostPorts(ports []v1.ContainerPort) {
	for i := range ports {
		fill(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

// PodTemplate defaults a PodTemplate.
func PodTemplate(t *v1.PodTemplate) { PodSpec(&t.Template.Spec) }

// PodSpec defaults the spec of a Pod or of a template.
func PodSpec(s *v1.PodSpec) {
	fill(&s.DNSPolicy, v1.DNSClusterFirst)
	fill(&s.RestartPolicy, v1.RestartPolicyAlways)
	fill(&s.SchedulerName, v1.DefaultSchedulerName)
	point(&s.SecurityContext, v1.PodSecurityContext{})
	point(&s.TerminationGracePeriodSeconds, int64(v1.DefaultTerminationGracePeriodSeconds))
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
		c := v1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		container(&c)
		s.EphemeralContainers[i].EphemeralContainerCommon = v1.EphemeralContainerCommon(c)
	}
}

func container(c *v1.Container) {
	fill(&c.ImagePullPolicy, pullPolicy(c.Image))
	fill(&c.TerminationMessagePath, v1.TerminationMessagePathDefault)
	fill(&c.TerminationMessagePolicy, v1.TerminationMessageReadFile)
	milli(c.Resources.Limits)
	milli(c.Resources.Requests)
	for i := range c.Ports {
		fill(&c.Ports[i].Protocol, v1.ProtocolTCP)
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
func pullPolicy(image string) v1.PullPolicy {
	name, _, digest := strings.Cut(image, "@")
	base := name[strings.LastIndex(name, "/")+1:]
	_, tag, tagged := strings.Cut(base, ":")
	if tag == "latest" || !tagged && !digest {
		return v1.PullAlways
	}
	return v1.PullIfNotPresent
}

func fieldRef(f *v1.ObjectFieldSelector) {
	if f != nil {
		fill(&f.APIVersion, "v1")
	}
}

func probe(p *v1.Probe) {
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

func hook(h *v1.LifecycleHandler) {
	if h != nil {
		httpGet(h.HTTPGet)
	}
}

func httpGet(g *v1.HTTPGetAction) {
	if g == nil {
		return
	}
	fill(&g.Path, "/")
	fill(&g.Scheme, v1.URISchemeHTTP)
}
