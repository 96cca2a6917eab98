package byservice_test

import (
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/controllers/byservice"
)

func slice(namespace, service, name string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if service != "" {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	return s
}

// TestOf: each finds the slices of a Service, whoever made the index; a slice of none is nobody's.
func TestOf(t *testing.T) {
	informer := cache.NewSharedIndexInformer(nil, &discoveryv1.EndpointSlice{}, 0, cache.Indexers{})
	var found [2]byservice.Slices
	for i := range found {
		var err error
		if found[i], err = byservice.New(informer); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*discoveryv1.EndpointSlice{
		slice("default", "web", "v4"), slice("default", "web", "v6"), slice("other", "web", "far"), slice("default", "", "stray"),
	} {
		if err := informer.GetStore().Add(s); err != nil {
			t.Fatal(err)
		}
	}
	for service, want := range map[string]string{"default/web": "v4 v6", "other/web": "far", "default/": "", "": "", "default/gone": ""} {
		for _, in := range found {
			var names []string
			for _, s := range in.Of(service) {
				names = append(names, s.Name)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%q: %q, want %q", service, got, want)
			}
		}
	}
}
