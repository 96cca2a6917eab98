package apiserver

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/duetk8s/duet/apiserver/resource"
)

// endpoints are the storages of every path: group, version, "plural" or "plural/subresource".
type endpoints map[string]map[string]map[string]rest.Storage

func (e endpoints) add(group, version, path string, s rest.Storage) {
	if e[group] == nil {
		e[group] = map[string]map[string]rest.Storage{}
	}
	if e[group][version] == nil {
		e[group][version] = map[string]rest.Storage{}
	}
	e[group][version][path] = s
}

// groups lists what to install, the core group first.
func (e endpoints) groups(s *scheme) []*genericapiserver.APIGroupInfo {
	var out []*genericapiserver.APIGroupInfo
	for _, group := range slices.Sorted(maps.Keys(e)) {
		info := genericapiserver.NewDefaultAPIGroupInfo(group, s.Scheme, s.parameters, s.codecs)
		info.PrioritizedVersions = nil
		for _, version := range []string{"v1", "v2", "v1beta1", "v1alpha1"} { // preferred first
			if e[group][version] != nil {
				info.PrioritizedVersions = append(info.PrioritizedVersions, schema.GroupVersion{Group: group, Version: version})
			}
		}
		info.OptionsExternalVersion = &schema.GroupVersion{Version: "v1"}
		info.MetaGroupVersion = &metav1.SchemeGroupVersion
		info.VersionedResourcesStorageMap = e[group]
		out = append(out, &info)
	}
	return out
}

// addRow makes the paths of one row of the table: the object itself, its status and scale, and
// what further subresources it names. main replaces the storage of the object, if not nil.
func (e endpoints) addRow(r resource.Resource, store *registry.Store, main rest.Storage) {
	if main == nil {
		main = object{store, r}
	}
	for _, version := range versionsOf(r) {
		e.add(r.Group, version, r.Plural, main)
		if !r.NoStatus {
			e.add(r.Group, version, r.Plural+"/status", newStatus(store))
		}
		if r.Scale != nil {
			e.add(r.Group, version, r.Plural+"/scale", scale{store: store, row: r})
		}
		for name, s := range r.Subresources {
			e.add(r.Group, version, r.Plural+"/"+name, s)
		}
	}
}
