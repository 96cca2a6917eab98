package namespace

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/duetk8s/duet/controllers/catalog"
)

// findings is what one attempt to empty a namespace came to. The zero value: it is empty.
type findings struct {
	discovery error // some groups could not be read
	parse     error // a group version made no sense
	deletion  []error
	remaining map[schema.GroupResource]int // objects left
	finalizer map[string]int               // objects left, by finalizer
}

// empty reports whether the namespace may go.
func (f findings) empty() bool {
	return f.discovery == nil && f.parse == nil && len(f.deletion) == 0 && len(f.remaining) == 0
}

// err is what made the attempt fail, nil if there is only to wait.
func (f findings) err() error {
	return errors.Join(append([]error{f.discovery, f.parse}, f.deletion...)...)
}

// text is the reason and message of a condition that is True, or of one that is False.
type text struct{ reason, message string }

// order lists the conditions as users have always seen them, with their texts when all is well.
var order = []struct {
	kind corev1.NamespaceConditionType
	well text
}{
	{corev1.NamespaceDeletionDiscoveryFailure, text{"ResourcesDiscovered", "All resources successfully discovered"}},
	{corev1.NamespaceDeletionGVParsingFailure, text{"ParsedGroupVersions", "All legacy kube types successfully parsed"}},
	{corev1.NamespaceDeletionContentFailure, text{"ContentDeleted", "All content successfully deleted, may be waiting on finalization"}},
	{corev1.NamespaceContentRemaining, text{"ContentRemoved", "All content successfully removed"}},
	{corev1.NamespaceFinalizersRemaining, text{"ContentHasNoFinalizers", "All content-preserving finalizers finished"}},
}

// troubles are the conditions that are True.
func (f findings) troubles() map[corev1.NamespaceConditionType]text {
	set := map[corev1.NamespaceConditionType]text{}
	if f.discovery != nil {
		message := f.discovery.Error()
		if groups, ok := errors.AsType[*discovery.ErrGroupDiscoveryFailed](f.discovery); ok {
			message = fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(groups.Groups), groups)
		}
		set[corev1.NamespaceDeletionDiscoveryFailure] = text{"DiscoveryFailed", message}
	}
	if f.parse != nil {
		set[corev1.NamespaceDeletionGVParsingFailure] = text{"GroupVersionParsingFailed", f.parse.Error()}
	}
	if len(f.deletion) > 0 {
		messages := make([]string, len(f.deletion))
		for i, err := range f.deletion {
			messages[i] = err.Error()
		}
		slices.Sort(messages)
		set[corev1.NamespaceDeletionContentFailure] = text{"ContentDeletionFailed", fmt.Sprintf(
			"Failed to delete all resource types, %d remaining: %s", len(messages), strings.Join(messages, ", "))}
	}
	if len(f.remaining) > 0 {
		var left []string
		for resource, n := range f.remaining {
			left = append(left, fmt.Sprintf("%s.%s has %d resource instances", resource.Resource, resource.Group, n))
		}
		slices.Sort(left)
		set[corev1.NamespaceContentRemaining] = text{"SomeResourcesRemain", "Some resources are remaining: " + strings.Join(left, ", ")}
	}
	if len(f.finalizer) > 0 {
		var left []string
		for _, name := range slices.Sorted(maps.Keys(f.finalizer)) {
			left = append(left, fmt.Sprintf("%s in %d resource instances", name, f.finalizer[name]))
		}
		set[corev1.NamespaceFinalizersRemaining] = text{"SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: " + strings.Join(left, ", ")}
	}
	return set
}

// conditions returns old with the five conditions of f, others kept, and whether any differs.
// A condition keeps its time while its status stays.
func conditions(old []corev1.NamespaceCondition, f findings, now metav1.Time) ([]corev1.NamespaceCondition, bool) {
	troubles := f.troubles()
	list, changed := slices.Clone(old), false
	for _, o := range order {
		want := corev1.NamespaceCondition{
			Type: o.kind, Status: corev1.ConditionFalse, Reason: o.well.reason, Message: o.well.message, LastTransitionTime: now,
		}
		if t, bad := troubles[o.kind]; bad {
			want.Status, want.Reason, want.Message = corev1.ConditionTrue, t.reason, t.message
		}
		at := slices.IndexFunc(list, func(c corev1.NamespaceCondition) bool { return c.Type == o.kind })
		if at < 0 {
			list, changed = append(list, want), true
			continue
		}
		if list[at].Status == want.Status {
			want.LastTransitionTime = list[at].LastTransitionTime
		}
		changed = changed || list[at] != want
		list[at] = want
	}
	return list, changed
}

// sort puts an error of reading the catalog where the conditions show it.
func (f *findings) sort(err error) {
	if _, ok := errors.AsType[*catalog.ParseError](err); ok {
		f.parse = err
	} else {
		f.discovery = err
	}
}
