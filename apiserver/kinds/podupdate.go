package kinds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podUpdates names what an update may change (C5.5).
const podUpdates = "pod updates may not change fields other than " +
	"`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

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
	errs := deadline(s.ActiveDeadlineSeconds, old.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))
	back.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	if g, was := s.TerminationGracePeriodSeconds, old.TerminationGracePeriodSeconds; g != nil && *g == 1 && was != nil && *was < 0 {
		back.TerminationGracePeriodSeconds = was
	}
	errs = append(errs, tolerationsAdded(s.Tolerations, old.Tolerations, path.Child("tolerations"))...)
	back.Tolerations = old.Tolerations
	errs = append(errs, gatesRemoved(s.SchedulingGates, old.SchedulingGates, path.Child("schedulingGates"))...)
	back.SchedulingGates = old.SchedulingGates
	if len(old.SchedulingGates) > 0 { // where the Pod may go can still be narrowed
		errs = append(errs, narrowed(s, old, path)...)
		back.NodeSelector = old.NodeSelector
		if a := s.Affinity; a != nil || old.Affinity != nil {
			back.Affinity = withNodeAffinity(a, old.Affinity)
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

// deadline may come later and be shortened.
func deadline(value, old *int64, path *field.Path) field.ErrorList {
	switch {
	case value == nil && old != nil:
		return field.ErrorList{field.Invalid(path, value, "must not update from a positive integer to nil value")}
	case value != nil && old != nil && *value > *old:
		return field.ErrorList{field.Invalid(path, *value, "must be less than or equal to previous value")}
	}
	return nil
}

// gatesRemoved: gates may go, never come.
func gatesRemoved(gates, old []corev1.PodSchedulingGate, path *field.Path) (errs field.ErrorList) {
	for i, g := range gates {
		if !slices.Contains(old, g) {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}
	return errs
}

// narrowed checks that a gated Pod can go to no node that it could not go to before.
func narrowed(s, old *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for key, value := range old.NodeSelector {
		if now, ok := s.NodeSelector[key]; !ok || now != value {
			errs = append(errs, field.Invalid(path.Child("nodeSelector"), s.NodeSelector,
				"only additions are allowed to spec.nodeSelector (no mutations or deletions)"))
			break
		}
	}
	was, now := requiredTerms(old.Affinity), requiredTerms(s.Affinity)
	if len(was) == 0 {
		return errs
	}
	at := path.Child("affinity", "nodeAffinity", must, "nodeSelectorTerms")
	if len(now) != len(was) {
		return append(errs, field.Invalid(at, now, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
	}
	for i := range was {
		expressions, fields := was[i].MatchExpressions, was[i].MatchFields
		if len(now[i].MatchExpressions) < len(expressions) || !equality.Semantic.DeepEqual(now[i].MatchExpressions[:len(expressions)], expressions) ||
			len(now[i].MatchFields) < len(fields) || !equality.Semantic.DeepEqual(now[i].MatchFields[:len(fields)], fields) {
			errs = append(errs, field.Invalid(at.Index(i), now[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func requiredTerms(a *corev1.Affinity) []corev1.NodeSelectorTerm {
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// withNodeAffinity is a with the node affinity of another, nil if nothing is left.
func withNodeAffinity(a, of *corev1.Affinity) *corev1.Affinity {
	out := corev1.Affinity{}
	if a != nil {
		out.PodAffinity, out.PodAntiAffinity = a.PodAffinity, a.PodAntiAffinity
	}
	if of != nil {
		out.NodeAffinity = of.NodeAffinity
	}
	if of == nil && out == (corev1.Affinity{}) {
		return nil
	}
	return &out
}
