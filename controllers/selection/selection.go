// Package selection tells which Services select a Pod, and which Services a change of a Pod
// concerns. Both controllers that publish endpoints work with it.
//
// The time it takes does not depend on the number of Services: of each selector one pair is indexed,
// and a Pod is looked up by its labels.
package selection

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	endpointutil "k8s.io/endpointslice/util"
)

// indexName in the informer of Services.
const indexName = "duet.selector"

// Selectors finds Services by the labels of Pods.
type Selectors struct{ indexer cache.Indexer }

// New adds the index to the informer of Services, unless it is there already.
func New(services cache.SharedIndexInformer) (Selectors, error) {
	s := Selectors{services.GetIndexer()}
	if _, ok := s.indexer.GetIndexers()[indexName]; ok {
		return s, nil
	}
	if err := services.AddIndexers(cache.Indexers{indexName: onePair}); err != nil {
		return s, fmt.Errorf("index Services by selector: %w", err)
	}
	return s, nil
}

// onePair of a selector: a Pod that has it may be selected, a Pod that has not is not.
func onePair(obj any) ([]string, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok || len(svc.Spec.Selector) == 0 {
		return nil, nil
	}
	key := slices.Min(slices.Collect(maps.Keys(svc.Spec.Selector)))
	return []string{pair(svc.Namespace, key, svc.Spec.Selector[key])}, nil
}

// pair cannot be mistaken: neither names nor labels have spaces.
func pair(namespace, key, value string) string { return namespace + " " + key + " " + value }

// Of returns the keys, namespace/name, of the Services that select a Pod with these labels.
func (s Selectors) Of(namespace string, labels map[string]string) (keys []string) {
	for key, value := range labels {
		found, err := s.indexer.ByIndex(indexName, pair(namespace, key, value))
		if err != nil {
			continue // only an index that is not there
		}
		for _, obj := range found {
			if svc := obj.(*corev1.Service); Selects(svc, labels) {
				keys = append(keys, svc.Namespace+"/"+svc.Name)
			}
		}
	}
	return keys
}

// Selects tells whether the Service selects Pods with these labels. One without a selector selects none.
func Selects(svc *corev1.Service, labels map[string]string) bool {
	for key, value := range svc.Spec.Selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return len(svc.Spec.Selector) > 0
}

// Pods returns a handler that calls changed with each Service whose endpoints a change of a Pod may
// change. Most changes of Pods concern none.
func (s Selectors) Pods(changed func(key string)) cache.ResourceEventHandler {
	tell := func(old, obj any) {
		p := endpointutil.GetPodUpdateProjectionKey(old, obj)
		if p == nil {
			return
		}
		keys := s.Of(p.Namespace, p.Labels)
		if p.OldLabels != nil {
			keys = append(keys, s.Of(p.Namespace, p.OldLabels)...)
		}
		for _, k := range keys {
			changed(k)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { tell(nil, obj) },
		UpdateFunc: tell,
		DeleteFunc: func(obj any) { tell(nil, obj) },
	}
}
