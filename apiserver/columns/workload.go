package columns

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/duetk8s/duet/apiserver/resource"
)

// template are the columns about a Pod template that `-o wide` adds.
func template() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{wide("Containers"), wide("Images"), wide("Selector")}
}

// Deployment prints NAME READY UP-TO-DATE AVAILABLE AGE, wide CONTAINERS IMAGES SELECTOR.
func Deployment() *resource.Columns {
	columns := append(defs(text("Ready"), text("Up-to-date"), text("Available"), ageColumn()), template()...)
	return table(columns, func(d *appsv1.Deployment) []any {
		names, images := containers(&d.Spec.Template.Spec)
		selector := "<invalid>"
		if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil {
			selector = s.String()
		}
		return []any{
			d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas)),
			int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), age(&d.ObjectMeta),
			names, images, selector,
		}
	})
}

// ReplicaSet prints NAME DESIRED CURRENT READY AGE, wide CONTAINERS IMAGES SELECTOR.
func ReplicaSet() *resource.Columns {
	columns := append(defs(number("Desired"), number("Current"), number("Ready"), ageColumn()), template()...)
	return table(columns, func(r *appsv1.ReplicaSet) []any {
		names, images := containers(&r.Spec.Template.Spec)
		return []any{
			r.Name, int64(deref(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
			age(&r.ObjectMeta), names, images, metav1.FormatLabelSelector(r.Spec.Selector),
		}
	})
}

// ReplicationController prints what ReplicaSet prints.
func ReplicationController() *resource.Columns {
	columns := append(defs(number("Desired"), number("Current"), number("Ready"), ageColumn()), template()...)
	return table(columns, func(r *corev1.ReplicationController) []any {
		var names, images string
		if r.Spec.Template != nil {
			names, images = containers(&r.Spec.Template.Spec)
		}
		return []any{
			r.Name, int64(deref(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
			age(&r.ObjectMeta), names, images, labels.FormatLabels(r.Spec.Selector),
		}
	})
}

// StatefulSet prints NAME READY AGE, wide CONTAINERS IMAGES.
func StatefulSet() *resource.Columns {
	return table(
		defs(text("Ready"), ageColumn(), wide("Containers"), wide("Images")),
		func(s *appsv1.StatefulSet) []any {
			names, images := containers(&s.Spec.Template.Spec)
			ready := fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas))
			return []any{s.Name, ready, age(&s.ObjectMeta), names, images}
		})
}

// DaemonSet prints NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE, wide
// CONTAINERS IMAGES SELECTOR.
func DaemonSet() *resource.Columns {
	columns := append(defs(number("Desired"), number("Current"), number("Ready"), number("Up-to-date"),
		number("Available"), text("Node Selector"), ageColumn()), template()...)
	return table(columns, func(d *appsv1.DaemonSet) []any {
		names, images := containers(&d.Spec.Template.Spec)
		return []any{
			d.Name, int64(d.Status.DesiredNumberScheduled), int64(d.Status.CurrentNumberScheduled),
			int64(d.Status.NumberReady), int64(d.Status.UpdatedNumberScheduled), int64(d.Status.NumberAvailable),
			labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), age(&d.ObjectMeta),
			names, images, metav1.FormatLabelSelector(d.Spec.Selector),
		}
	})
}

// ControllerRevision prints NAME CONTROLLER REVISION AGE, CONTROLLER as "statefulset.apps/web".
func ControllerRevision() *resource.Columns {
	return table(
		defs(text("Controller"), text("Revision"), ageColumn()),
		func(r *appsv1.ControllerRevision) []any {
			controller := none
			if ref := metav1.GetControllerOf(r); ref != nil {
				gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
				controller = lower(gk.String()) + "/" + ref.Name
			}
			return []any{r.Name, controller, r.Revision, age(&r.ObjectMeta)}
		})
}

// Job prints NAME STATUS COMPLETIONS DURATION AGE, wide CONTAINERS IMAGES SELECTOR.
func Job() *resource.Columns {
	columns := append(defs(text("Status"), text("Completions"), text("Duration"), ageColumn()), template()...)
	return table(columns, func(j *batchv1.Job) []any {
		names, images := containers(&j.Spec.Template.Spec)
		return []any{
			j.Name, jobStatus(j), jobCompletions(j), jobDuration(j), age(&j.ObjectMeta),
			names, images, metav1.FormatLabelSelector(j.Spec.Selector),
		}
	})
}

func jobStatus(j *batchv1.Job) string {
	is := func(kind batchv1.JobConditionType) bool {
		return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == kind && c.Status == corev1.ConditionTrue
		})
	}
	switch {
	case is(batchv1.JobComplete):
		return "Complete"
	case is(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is(batchv1.JobSuspended):
		return "Suspended"
	case is(batchv1.JobFailureTarget):
		return "FailureTarget"
	case is(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

// jobCompletions is "1/3", or "1/1 of 4" for a work queue (parallelism without completions).
func jobCompletions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if parallelism := deref(j.Spec.Parallelism); parallelism > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallelism)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job) string {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(time.Since(j.Status.StartTime.Time))
	}
	return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
}

// CronJob prints NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE, wide CONTAINERS IMAGES
// SELECTOR.
func CronJob() *resource.Columns {
	columns := append(defs(text("Schedule"), text("Timezone"), boolean("Suspend"), number("Active"),
		text("Last Schedule"), ageColumn()), template()...)
	return table(columns, func(c *batchv1.CronJob) []any {
		names, images := containers(&c.Spec.JobTemplate.Spec.Template.Spec)
		last := none
		if c.Status.LastScheduleTime != nil {
			last = since(c.Status.LastScheduleTime.Time)
		}
		suspend := unset
		if c.Spec.Suspend != nil {
			suspend = map[bool]string{true: "True", false: "False"}[*c.Spec.Suspend]
		}
		return []any{
			c.Name, c.Spec.Schedule, orDeref(c.Spec.TimeZone, none), suspend, int64(len(c.Status.Active)),
			last, age(&c.ObjectMeta), names, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector),
		}
	})
}
