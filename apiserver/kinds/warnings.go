package kinds

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// templatePath is where most kinds keep their Pod template.
var templatePath = field.NewPath("spec", "template", "spec")

// PodWarnings warn of host aliases and addresses that are likely mistakes (C5.3, 0.10).
func PodWarnings(p, _ *corev1.Pod) []string { return podWarnings(&p.Spec, field.NewPath("spec")) }

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

func podWarnings(s *corev1.PodSpec, path *field.Path) (warnings []string) {
	seen := map[string]bool{}
	for i, alias := range s.HostAliases {
		at := path.Child("hostAliases").Index(i).Child("ip")
		if seen[alias.IP] {
			warnings = append(warnings, fmt.Sprintf("%s: duplicate ip %q", at, alias.IP))
		}
		seen[alias.IP] = true
		warnings = append(warnings, ipWarnings(alias.IP, at)...)
	}
	return warnings
}

// ipWarnings warns of odd notation (0.10). What is no address at all is for validation to report.
func ipWarnings(ip string, path *field.Path) []string {
	if len(utilvalidation.IsValidIPForLegacyField(path, ip, false, nil)) > 0 {
		return nil
	}
	return utilvalidation.GetWarningsForIP(path, ip)
}
