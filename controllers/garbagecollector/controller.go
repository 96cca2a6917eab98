package garbagecollector

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/catalog"
	"github.com/duetk8s/duet/controllers/queue"
)

// discoveryRetry is how long to wait when discovery does not answer.
const discoveryRetry = time.Second

// Deps is what the controller acts through.
type Deps struct {
	Metadata  metadata.Interface
	Discovery catalog.Discovery
	Events    record.EventRecorder
}

// Config has no required field.
type Config struct {
	// Workers is how many objects are worked on at a time; 0 means 8.
	Workers int
	// Ignore lists resources whose objects are not collected, beside Events. One of them named
	// as an owner is looked up each time.
	Ignore []schema.GroupResource
}

// Controller is the garbage collector.
type Controller struct {
	deps   Deps
	config Config
	actor  actor
	queue  *queue.Queue[types.UID]

	changes    chan func(*graph, marks) // to the goroutine that owns the graph
	rediscover chan struct{}
	ready      chan struct{} // closed when every kind was listed once
	vocabulary atomic.Pointer[vocabulary]

	// Only the owner of the graph touches these.
	unlisted map[schema.GroupResource]struct{}
	started  bool
}

// New starts nothing.
func New(deps Deps, config Config) (*Controller, error) {
	if config.Workers == 0 {
		config.Workers = 8
	}
	config.Ignore = append([]schema.GroupResource{{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"}}, config.Ignore...)
	c := &Controller{
		deps: deps, config: config, actor: actor{client: deps.Metadata, events: deps.Events},
		changes: make(chan func(*graph, marks)), rediscover: make(chan struct{}, 1), ready: make(chan struct{}),
		unlisted: map[schema.GroupResource]struct{}{},
	}
	c.queue = queue.New(c.sync)
	return c, nil
}

// Rediscover has the served kinds read again soon. It may be called at any time.
func (c *Controller) Rediscover() {
	select {
	case c.rediscover <- struct{}{}:
	default: // already asked for
	}
}

// Run works until ctx ends and returns nil when all goroutines are gone. The server may be ready
// long before: until every kind was listed nothing is collected.
func (c *Controller) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { c.own(ctx) })
	group.Go(func() {
		select {
		case <-c.ready:
		case <-ctx.Done():
		}
		c.queue.Run(ctx, c.config.Workers)
	})
	c.watchKinds(ctx, &group)
	group.Wait()
	return nil
}

// own is the goroutine that owns the graph: it applies one change after the other.
func (c *Controller) own(ctx context.Context) {
	g := newGraph()
	for {
		select {
		case <-ctx.Done():
			return
		case change := <-c.changes:
			m := marks{}
			change(g, m)
			if !c.started {
				continue // markEverything will catch up
			}
			for uid := range m {
				c.queue.Add(uid)
			}
		}
	}
}

// change has f applied to the graph, in the order of calls, unless ctx ends first.
func (c *Controller) change(ctx context.Context, f func(*graph, marks)) {
	select {
	case c.changes <- f:
	case <-ctx.Done():
	}
}

// watchKinds keeps a reflector running for every kind until ctx ends.
func (c *Controller) watchKinds(ctx context.Context, group *sync.WaitGroup) {
	running := map[schema.GroupResource]reflector{}
	for {
		served, err := catalog.Read(ctx, c.deps.Discovery)
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Cannot read all kinds", "retry", discoveryRetry)
		}
		if err == nil || catalog.IsPartial(err) {
			c.setKinds(ctx, group, running, newVocabulary(served), err == nil)
		}
		var retry <-chan time.Time
		if err != nil {
			retry = time.After(discoveryRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.rediscover:
		case <-retry:
		}
	}
}

// reflector is one that runs.
type reflector struct {
	resource schema.GroupVersionResource
	stop     context.CancelFunc
}

// setKinds starts reflectors for kinds that are new and, if the vocabulary is complete, stops
// those of kinds that are gone.
func (c *Controller) setKinds(ctx context.Context, group *sync.WaitGroup, running map[schema.GroupResource]reflector, v *vocabulary, complete bool) {
	if old := c.vocabulary.Load(); old != nil && !complete {
		v = old // rather know too many kinds than forget one
	}
	c.vocabulary.Store(v)
	wanted := v.watched(c.config.Ignore)
	for resource, r := range running {
		if wanted[resource].GroupVersionResource == r.resource {
			continue
		}
		r.stop()
		delete(running, resource)
		if _, ok := wanted[resource]; !ok {
			c.change(ctx, func(g *graph, m marks) {
				g.replace(resource, nil, m)
				c.listed(g, m, resource)
			})
		}
	}
	var start []catalog.Kind
	for resource, kind := range wanted {
		if _, ok := running[resource]; !ok {
			start = append(start, kind)
		}
	}
	// All are noted before any can be listed, so that the first to finish is not taken for all.
	c.change(ctx, func(g *graph, m marks) {
		for _, kind := range start {
			c.unlisted[kind.GroupResource()] = struct{}{}
		}
		g.markUnseen(m) // owners of kinds that were not known
	})
	for _, kind := range start {
		kindCtx, stop := context.WithCancel(ctx)
		running[kind.GroupResource()] = reflector{kind.GroupVersionResource, stop}
		into := &feed{ctx: kindCtx, resource: kind.GroupResource(), change: c.change, listed: c.listed}
		group.Go(func() { follow(kindCtx, c.deps.Metadata, kind, into) })
	}
}

// listed notes that a kind was listed; with the last one the work begins.
func (c *Controller) listed(g *graph, m marks, resource schema.GroupResource) {
	delete(c.unlisted, resource)
	if c.started {
		g.markUnseen(m) // an owner could have come and gone while nobody was looking
		return
	}
	if len(c.unlisted) > 0 {
		return
	}
	c.started = true
	g.markEverything(m)
	close(c.ready)
}

// sync decides about one object and acts.
func (c *Controller) sync(ctx context.Context, uid types.UID) error {
	v := c.vocabulary.Load()
	s, ok := c.ask(ctx, uid, v)
	if !ok {
		return nil
	}
	what := next(s)
	if what.do == ask {
		if err := c.actor.lookUp(ctx, v, &s); err != nil {
			return err
		}
		what = next(s)
	}
	if what.do != nothing || len(s.naming(misnamed)) > 0 {
		c.actor.complain(v, s)
	}
	if err := c.actor.perform(ctx, v, s, what); err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return nil
}

// ask has the owner of the graph describe an object. It returns false if there is none.
func (c *Controller) ask(ctx context.Context, uid types.UID, v *vocabulary) (situation, bool) {
	type answer struct {
		situation
		ok bool
	}
	answers := make(chan answer, 1)
	c.change(ctx, func(g *graph, _ marks) {
		s, ok := g.situationOf(uid, v)
		answers <- answer{s, ok}
	})
	select {
	case a := <-answers:
		return a.situation, a.ok
	case <-ctx.Done():
		return situation{}, false
	}
}
