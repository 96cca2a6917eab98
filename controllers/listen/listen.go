// Package listen has a component told by informers what happens to objects: which handlers, on which
// informers, and whether all of them have been told of everything that there was at the start.
//
// It starts no informer, and what is done about an object is the component's. Any component may
// import it.
//
// Concurrency: a Listener is filled by one goroutine, in the component's New; Synced may be called from
// anywhere afterwards. Handlers are called by the informers' goroutines.
package listen

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/cache"
)

// Listener is what a component listens to. The zero value listens to nothing.
type Listener struct {
	synced []cache.DoneChecker
	leave  []func() error
	err    error
}

// To has handler told what happens to the objects of informer, first of those that are there already.
// It may be called before and after the informer was started.
func (l *Listener) To(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	handle, err := informer.AddEventHandler(handler)
	switch {
	case err == nil:
		l.synced = append(l.synced, handle.HasSyncedChecker())
		l.leave = append(l.leave, func() error { return informer.RemoveEventHandler(handle) })
	case l.err == nil:
		l.err = fmt.Errorf("listen to an informer: %w", err)
	}
}

// Err is the first failure of To: an informer has been stopped already.
func (l *Listener) Err() error { return l.err }

// Synced waits until every handler has been told of all objects that there were at the start. It is
// false if ctx ended before.
func (l *Listener) Synced(ctx context.Context) bool { return cache.WaitFor(ctx, "", l.synced...) }

// Stop has no handler told of anything from now on, for a component that ends before its informers do.
func (l *Listener) Stop() {
	for _, leave := range l.leave {
		_ = leave() // fails only if the informer has ended
	}
}

// Objects returns a handler that tells of every object of type T that comes, changes or goes: as it is
// now, or as it was last seen.
func Objects[T any](tell func(T)) cache.ResourceEventHandlerFuncs {
	return Seen(func(o T, _ bool) { tell(o) })
}

// Seen is Objects that tells which are gone.
func Seen[T any](tell func(o T, gone bool)) cache.ResourceEventHandlerFuncs {
	there, gone := of(func(o T) { tell(o, false) }), of(func(o T) { tell(o, true) })
	return cache.ResourceEventHandlerFuncs{AddFunc: there, UpdateFunc: func(_, obj any) { there(obj) }, DeleteFunc: gone}
}

// Both is Objects that tells of a changed object as it was, too: for what is kept by something that an
// object may change, as a slice's Service.
func Both[T any](tell func(T)) cache.ResourceEventHandlerFuncs {
	told := of(tell)
	return cache.ResourceEventHandlerFuncs{AddFunc: told, UpdateFunc: func(old, obj any) { told(old); told(obj) }, DeleteFunc: told}
}

// of tells of an object if it is one of type T.
func of[T any](tell func(T)) func(any) {
	return func(obj any) {
		if o, ok := Last(obj).(T); ok {
			tell(o)
		}
	}
}

// Keys returns a handler that tells the key of every object that comes, changes or goes:
// "namespace/name", or "name" for one without a namespace.
func Keys(tell func(key string)) cache.ResourceEventHandlerFuncs {
	told := func(obj any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			tell(key)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: told, UpdateFunc: func(_, obj any) { told(obj) }, DeleteFunc: told}
}

// Last is the object that an informer tells of: one whose deletion was missed, as it was last seen.
func Last(obj any) any {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return obj
}
