// Package byservice finds the EndpointSlices of a Service: by an index of their informer, which is one
// for all components that share the informer.
package byservice

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// indexName in the informer of EndpointSlices.
const indexName = "duet.service"

// Slices are those of an informer.
type Slices struct{ indexer cache.Indexer }

// New adds the index to the informer of EndpointSlices, unless it is there already.
func New(slices cache.SharedIndexInformer) (Slices, error) {
	s := Slices{slices.GetIndexer()}
	if _, ok := s.indexer.GetIndexers()[indexName]; ok {
		return s, nil
	}
	if err := slices.AddIndexers(cache.Indexers{indexName: keys}); err != nil {
		return s, fmt.Errorf("index EndpointSlices by Service: %w", err)
	}
	return s, nil
}

func keys(obj any) ([]string, error) {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && Key(slice) != "" {
		return []string{Key(slice)}, nil
	}
	return nil, nil
}

// Key is the namespace/name of the Service that slice is of, "" for one of none.
func Key(slice *discoveryv1.EndpointSlice) string {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return ""
	}
	return slice.Namespace + "/" + name
}

// Of returns the slices of the Service with this namespace/name. They are the informer's: nobody may
// change them.
func (s Slices) Of(service string) []*discoveryv1.EndpointSlice {
	list, err := s.indexer.ByIndex(indexName, service)
	if err != nil {
		return nil // the index is New's
	}
	out := make([]*discoveryv1.EndpointSlice, len(list))
	for i, obj := range list {
		out[i] = obj.(*discoveryv1.EndpointSlice)
	}
	return out
}
