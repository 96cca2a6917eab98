package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/duetk8s/duet/controllers/catalog"
)

type served struct {
	groups []*metav1.APIGroup
	lists  []*metav1.APIResourceList
	err    error
}

func (s served) ServerGroupsAndResourcesWithContext(context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return s.groups, s.lists, s.err
}

func group(name, preferred string) *metav1.APIGroup {
	return &metav1.APIGroup{Name: name, PreferredVersion: metav1.GroupVersionForDiscovery{Version: preferred}}
}

func list(gv string, resources ...string) *metav1.APIResourceList {
	l := &metav1.APIResourceList{GroupVersion: gv}
	for _, r := range resources {
		plural, kind, _ := strings.Cut(r, ":")
		l.APIResources = append(l.APIResources, metav1.APIResource{Name: plural, Kind: kind, Verbs: metav1.Verbs{"list", "delete"}})
	}
	return l
}

func TestRead(t *testing.T) {
	broken := &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{{Group: "x"}: errors.New("down")}}
	groups := []*metav1.APIGroup{group("", "v1"), group("net", "v1")}
	lists := []*metav1.APIResourceList{
		list("net/v1beta1", "cidrs:CIDR", "olds:Old"), list("net/v1", "cidrs:CIDR", "cidrs/status:CIDR"), list("v1", "pods:Pod"),
	}
	tests := []struct {
		name    string
		in      served
		want    string
		partial bool
		fails   bool
	}{
		{"preferred version, else any", served{groups, lists, nil}, "/v1 pods, net/v1 cidrs, net/v1beta1 olds", false, false},
		{"some groups down", served{groups, lists[1:], broken}, "/v1 pods, net/v1 cidrs", true, true},
		{"not a version", served{groups, append([]*metav1.APIResourceList{list("a/b/c", "x:X")}, lists[2]), nil}, "/v1 pods", true, true},
		{"down", served{err: errors.New("refused")}, "", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := catalog.Read(t.Context(), tt.in)
			if (err != nil) != tt.fails || catalog.IsPartial(err) != tt.partial {
				t.Errorf("error %v, want one %v, partial %v", err, tt.fails, tt.partial)
			}
			var names []string
			for _, k := range got.Kinds {
				names = append(names, fmt.Sprintf("%s/%s %s", k.Group, k.Version, k.Resource))
			}
			if s := strings.Join(names, ", "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
	got, err := catalog.Read(t.Context(), served{groups, lists, nil})
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := got.Resolve("net/v1beta1", "CIDR"); !ok || k.Version != "v1beta1" {
		t.Errorf("an owner reference in another version resolved to %v, %v", k, ok)
	}
	if _, ok := got.Resolve("net/v2", "CIDR"); ok {
		t.Error("a version that is not served resolved")
	}
}
