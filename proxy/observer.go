package proxy

import (
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// Observer is told of changes before the proxy takes them up, and of each attempt to write what had
// changed when it began: elements is how many the table has. Its methods return at once.
type Observer interface {
	ServiceChanged()
	SliceChanged(old, now *discoveryv1.EndpointSlice)
	Synced(began time.Time, elements int, err error)
}

// unobserved is nobody.
type unobserved struct{}

func (unobserved) ServiceChanged()                              {}
func (unobserved) SliceChanged(_, _ *discoveryv1.EndpointSlice) {}
func (unobserved) Synced(time.Time, int, error)                 {}

// observed has each event told first, once, with nil for what was not or is no more.
func observed(tell func(old, now any), h cache.ResourceEventHandlerFuncs) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { tell(nil, o); h.AddFunc(o) },
		UpdateFunc: func(old, now any) { tell(old, now); h.UpdateFunc(old, now) },
		DeleteFunc: func(o any) { tell(o, nil); h.DeleteFunc(o) },
	}
}

func (p *Proxy) sliceChanged(old, now any) {
	before, _ := old.(*discoveryv1.EndpointSlice)
	after, _ := now.(*discoveryv1.EndpointSlice)
	p.config.Observer.SliceChanged(before, after)
}
