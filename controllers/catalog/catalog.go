// Package catalog reads from discovery which kinds the API serves, for controllers that act on
// objects of every kind: namespace and garbagecollector.
//
// It keeps nothing: a [Catalog] is a value, read once and replaced when the caller wants to.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Discovery is what is needed of discovery.DiscoveryInterfaceWithContext. It may return results
// together with an error when only some groups could be read.
type Discovery interface {
	ServerGroupsAndResourcesWithContext(ctx context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error)
}

// Kind is one kind as the API serves it.
type Kind struct {
	schema.GroupVersionResource
	Name       string // "Service"
	Namespaced bool
	Verbs      []string
}

// Can reports whether the resource supports all the verbs.
func (k Kind) Can(verbs ...string) bool {
	return !slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(k.Verbs, v) })
}

// Catalog is what was served at one moment.
type Catalog struct {
	// Kinds has one entry per resource, in its preferred version, ordered by group and resource.
	Kinds []Kind
	// served has every version.
	served map[schema.GroupVersionKind]Kind
}

// ParseError says that discovery named a group version which is none.
type ParseError struct{ Err error }

func (e *ParseError) Error() string { return e.Err.Error() }
func (e *ParseError) Unwrap() error { return e.Err }

// Read asks discovery. With an error that satisfies [IsPartial], the catalog holds what could be
// read; with any other it is empty.
func Read(ctx context.Context, from Discovery) (Catalog, error) {
	groups, lists, err := from.ServerGroupsAndResourcesWithContext(ctx)
	if err != nil && !IsPartial(err) {
		return Catalog{}, err // users read it in conditions: the callers say what it was for
	}
	catalog, parseErr := fromDiscovery(groups, lists)
	if err == nil {
		err = parseErr
	}
	return catalog, err
}

// IsPartial reports whether the error leaves the rest of a catalog usable.
func IsPartial(err error) bool {
	var failed *discovery.ErrGroupDiscoveryFailed
	var parse *ParseError
	return errors.As(err, &failed) || errors.As(err, &parse)
}

// Resolve finds the kind that an owner reference names, in the version it names.
func (c Catalog) Resolve(apiVersion, kind string) (Kind, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Kind{}, false
	}
	found, ok := c.served[gv.WithKind(kind)]
	return found, ok
}

func fromDiscovery(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) (Catalog, error) {
	preferred := map[schema.GroupVersion]bool{}
	for _, g := range groups {
		preferred[schema.GroupVersion{Group: g.Name, Version: g.PreferredVersion.Version}] = true
	}
	catalog := Catalog{served: map[schema.GroupVersionKind]Kind{}}
	best := map[schema.GroupResource]Kind{}
	var fault error
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			fault = &ParseError{Err: err}
			continue
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") {
				continue // a subresource
			}
			kind := Kind{GroupVersionResource: gv.WithResource(r.Name), Name: r.Kind, Namespaced: r.Namespaced, Verbs: r.Verbs}
			catalog.served[gv.WithKind(r.Kind)] = kind
			if _, seen := best[kind.GroupResource()]; !seen || preferred[gv] {
				best[kind.GroupResource()] = kind
			}
		}
	}
	for _, kind := range best {
		catalog.Kinds = append(catalog.Kinds, kind)
	}
	slices.SortFunc(catalog.Kinds, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource))
	})
	return catalog, fault
}
