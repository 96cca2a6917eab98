package namespace

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/duetk8s/duet/controllers/catalog"
)

// TestConditions compares with what `kubectl get namespace -o yaml` shows, the conditions that
// are True written out.
func TestConditions(t *testing.T) {
	tests := []struct {
		name string
		in   findings
		want string
	}{
		{"empty", findings{}, ""},
		{"group down", findings{discovery: fmt.Errorf("read discovery: %w", &discovery.ErrGroupDiscoveryFailed{
			Groups: map[schema.GroupVersion]error{{Group: "metrics.k8s.io", Version: "v1"}: errors.New("refused")},
		})}, `NamespaceDeletionDiscoveryFailure DiscoveryFailed: Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: metrics.k8s.io/v1: refused`},
		{"discovery down", findings{discovery: errors.New("refused")}, `NamespaceDeletionDiscoveryFailure DiscoveryFailed: refused`},
		{"no version", findings{parse: &catalog.ParseError{Err: errors.New("unexpected GroupVersion string: a/b/c")}}, `NamespaceDeletionGroupVersionParsingFailure GroupVersionParsingFailed: unexpected GroupVersion string: a/b/c`},
		{"refused", findings{deletion: []error{errors.New("list b: no"), errors.New("delete a: no")}}, `NamespaceDeletionContentFailure ContentDeletionFailed: Failed to delete all resource types, 2 remaining: delete a: no, list b: no`},
		{
			"left",
			findings{
				remaining: map[schema.GroupResource]int{{Resource: "pods"}: 1, {Group: "apps", Resource: "deployments"}: 12},
				finalizer: map[string]int{"z/z": 1, "a/a": 2},
			},
			`NamespaceContentRemaining SomeResourcesRemain: Some resources are remaining: deployments.apps has 12 resource instances, pods. has 1 resource instances
NamespaceFinalizersRemaining SomeFinalizersRemain: Some content in the namespace has finalizers remaining: a/a in 2 resource instances, z/z in 1 resource instances`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, changed := conditions(nil, tt.in, metav1.Unix(1, 0))
			var got []string
			for _, c := range list {
				if c.Status == "True" {
					got = append(got, fmt.Sprintf("%s %s: %s", c.Type, c.Reason, c.Message))
				}
			}
			if s := strings.Join(got, "\n"); s != tt.want || len(list) != 5 || !changed {
				t.Errorf("%d conditions, changed %v:\n%s\nwant\n%s", len(list), changed, s, tt.want)
			}
			if _, again := conditions(list, tt.in, metav1.Unix(2, 0)); again {
				t.Error("changes when nothing did")
			}
			now := metav1.Unix(3, 0)
			well, changed := conditions(list, findings{}, now)
			for i, c := range well {
				if moved := list[i].Status == "True"; c.Status != "False" || c.LastTransitionTime.Equal(&now) != moved {
					t.Errorf("afterwards %v", c)
				}
			}
			if changed != (tt.want != "") {
				t.Errorf("afterwards changed %v", changed)
			}
		})
	}
}
