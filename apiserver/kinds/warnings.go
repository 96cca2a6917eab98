package kinds

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// templatePath is where most kinds keep their Pod template.
var templatePath = field.NewPath("spec", "template", "spec")

// PodWarnings warn of what is likely a mistake (C5.3, 0.10), when a Pod is made: people make Pods
// but rarely change them, and the rest cannot change.
func PodWarnings(p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	return podWarnings(&p.Spec, field.NewPath("spec"))
}

// PodTemplateWarnings are PodWarnings for a template.
func PodTemplateWarnings(t, _ *corev1.PodTemplate) []string {
	return podWarnings(&t.Template.Spec, field.NewPath("template", "spec"))
}

// ReplicationControllerWarnings are PodWarnings for its template.
func ReplicationControllerWarnings(r, _ *corev1.ReplicationController) []string {
	if r.Spec.Template == nil {
		return nil
	}
	return podWarnings(&r.Spec.Template.Spec, templatePath)
}

// DeploymentWarnings are PodWarnings for its template.
func DeploymentWarnings(d, _ *appsv1.Deployment) []string {
	return podWarnings(&d.Spec.Template.Spec, templatePath)
}

// ReplicaSetWarnings are PodWarnings for its template.
func ReplicaSetWarnings(r, _ *appsv1.ReplicaSet) []string {
	return podWarnings(&r.Spec.Template.Spec, templatePath)
}

// StatefulSetWarnings are PodWarnings for its template.
func StatefulSetWarnings(s, _ *appsv1.StatefulSet) []string {
	return podWarnings(&s.Spec.Template.Spec, templatePath)
}

// DaemonSetWarnings are PodWarnings for its template.
func DaemonSetWarnings(d, _ *appsv1.DaemonSet) []string {
	return podWarnings(&d.Spec.Template.Spec, templatePath)
}

// JobWarnings are PodWarnings for its template.
func JobWarnings(j, _ *batchv1.Job) []string { return podWarnings(&j.Spec.Template.Spec, templatePath) }

// CronJobWarnings are PodWarnings for its template.
func CronJobWarnings(c, _ *batchv1.CronJob) []string {
	return podWarnings(&c.Spec.JobTemplate.Spec.Template.Spec, field.NewPath("spec", "jobTemplate").Child("spec", "template", "spec"))
}

// podWarnings is also for templates, whose path differs.
func podWarnings(s *corev1.PodSpec, path *field.Path) (warnings []string) {
	add := func(at *field.Path, text string, args ...any) {
		warnings = append(warnings, at.String()+": "+fmt.Sprintf(text, args...))
	}
	for _, key := range sorted(s.NodeSelector) {
		if instead, ok := olderLabels[key]; ok {
			add(path.Child("nodeSelector").Key(key), "%s", instead)
		}
	}
	seen := map[string]bool{}
	for i, alias := range s.HostAliases {
		at := path.Child("hostAliases").Index(i).Child("ip")
		if seen[alias.IP] {
			add(at, "duplicate ip %q", alias.IP)
		}
		seen[alias.IP] = true
		warnings = append(warnings, ipWarnings(alias.IP, at)...)
	}
	if s.DNSConfig != nil {
		for i, ip := range s.DNSConfig.Nameservers {
			warnings = append(warnings, ipWarnings(ip, path.Child("dnsConfig", "nameservers").Index(i))...)
		}
	}
	for i, secret := range s.ImagePullSecrets {
		if secret.Name == "" {
			add(path.Child("imagePullSecrets").Index(i).Child("name"), `invalid empty name %q`, "")
		}
	}
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		add(path.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	for i := range s.InitContainers {
		containerWarnings(&s.InitContainers[i], path.Child("initContainers").Index(i), add)
	}
	for i := range s.Containers {
		containerWarnings(&s.Containers[i], path.Child("containers").Index(i), add)
	}
	return warnings
}

// olderLabels of nodes, and what is said of them.
var olderLabels = map[string]string{
	"beta.kubernetes.io/arch":                  `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                    `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region": `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":   `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":         `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
}

// containerWarnings are for what the last of two definitions hides, and for bytes in fractions.
func containerWarnings(c *corev1.Container, path *field.Path, add func(*field.Path, string, ...any)) {
	names := map[string]bool{}
	for i, e := range c.Env {
		if names[e.Name] && !strings.Contains(e.Value, "$("+e.Name+")") {
			add(path.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		names[e.Name] = true
	}
	ports := map[string]*field.Path{}
	for i, p := range c.Ports {
		at := path.Child("ports").Index(i)
		key := fmt.Sprintf("%s/%d/%s/%d", p.HostIP, p.HostPort, p.Protocol, p.ContainerPort)
		if first, ok := ports[key]; ok {
			add(at, "duplicate port definition with %s", first)
			continue
		}
		ports[key] = at
	}
	for _, list := range []struct {
		amounts corev1.ResourceList
		path    string
	}{{c.Resources.Limits, "limits"}, {c.Resources.Requests, "requests"}} {
		for _, name := range []corev1.ResourceName{corev1.ResourceEphemeralStorage, corev1.ResourceMemory} {
			if q, ok := list.amounts[name]; ok && q.MilliValue()%1000 != 0 {
				add(path.Child("resources", list.path).Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
			}
		}
	}
}

// ipWarnings warns of odd notation (0.10). What is no address at all is for validation to report.
func ipWarnings(ip string, path *field.Path) []string {
	if len(utilvalidation.IsValidIPForLegacyField(path, ip, false, nil)) > 0 {
		return nil
	}
	return utilvalidation.GetWarningsForIP(path, ip)
}
