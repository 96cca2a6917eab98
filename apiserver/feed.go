package apiserver

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/clusterip"
)

// feed keeps something in memory equal to the keys below a prefix: one list, then a watch, and a
// list again whenever the watch breaks (a compaction, a lost connection).
//
// Concurrency: list and apply are called from one goroutine.
type feed struct {
	client *clientv3.Client
	prefix string
	// values asks for the values too; keys are enough for claims.
	values bool
	// list takes everything there is at a revision.
	list func(revision int64, kvs []*mvccpb.KeyValue)
	// apply takes the events up to and including a revision, in order.
	apply func(revision int64, events []*clientv3.Event)

	mu       sync.Mutex
	revision int64         // all that happened up to here is known
	advanced chan struct{} // closed and replaced when revision grows
}

// start lists, so that the caller can serve; run keeps the feed going.
func (f *feed) start(ctx context.Context) error {
	f.advanced = make(chan struct{})
	return f.relist(ctx)
}

func (f *feed) relist(ctx context.Context) error {
	opts := []clientv3.OpOption{clientv3.WithPrefix()}
	if !f.values {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	resp, err := f.client.Get(ctx, f.prefix, opts...)
	if err != nil {
		return fmt.Errorf("list %s: %w", f.prefix, err)
	}
	f.list(resp.Header.Revision, resp.Kvs)
	f.advance(resp.Header.Revision)
	return nil
}

func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.watch(ctx)
		for ctx.Err() == nil && err != nil {
			klog.FromContext(ctx).Info("Listing again after a broken watch", "prefix", f.prefix, "reason", err.Error())
			if err = f.relist(ctx); err != nil {
				select { // etcd is away: its client reconnects by itself, this only spares the log
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		}
	}
}

func (f *feed) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(f.known() + 1), clientv3.WithProgressNotify()}
	for resp := range f.client.Watch(ctx, f.prefix, opts...) {
		if err := resp.Err(); err != nil {
			return err
		}
		// The header's revision is ahead of the events while a watch catches up.
		revision := resp.Header.Revision
		if n := len(resp.Events); n > 0 {
			revision = resp.Events[n-1].Kv.ModRevision
			f.apply(revision, resp.Events)
		}
		f.advance(revision)
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch of %s ended", f.prefix)
}

func (f *feed) known() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *feed) advance(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if revision > f.revision {
		f.revision = revision
		close(f.advanced)
		f.advanced = make(chan struct{})
	}
}

// reach waits until everything up to revision is known, or ctx ends.
func (f *feed) reach(ctx context.Context, revision int64) error {
	for {
		f.mu.Lock()
		known, advanced := f.revision, f.advanced
		f.mu.Unlock()
		if known >= revision {
			return nil
		}
		if err := f.client.RequestProgress(ctx); err != nil {
			return err
		}
		select {
		case <-advanced:
		case <-time.After(progressRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// progressRetry is when to ask again: etcd keeps silent about the progress of a watch that is
// catching up.
const progressRetry = 20 * time.Millisecond

// claimFeed keeps the space equal to the claims in etcd below one prefix; see claims.go for keys.
func claimFeed(client *clientv3.Client, prefix string, replace func(int64, []clusterip.Change), apply func(int64, []clusterip.Change)) *feed {
	return &feed{
		client: client, prefix: prefix,
		list: func(revision int64, kvs []*mvccpb.KeyValue) {
			changes := make([]clusterip.Change, 0, len(kvs))
			for _, kv := range kvs {
				changes = append(changes, change(string(kv.Key), true)...)
			}
			replace(revision, changes)
		},
		apply: func(revision int64, events []*clientv3.Event) {
			changes := make([]clusterip.Change, 0, len(events))
			for _, e := range events {
				changes = append(changes, change(string(e.Kv.Key), e.Type == clientv3.EventTypePut)...)
			}
			apply(revision, changes)
		},
	}
}

// addrs and ports take the claims of one sort out of changes.
func addrs(changes []clusterip.Change) (out []netip.Addr) {
	for _, c := range changes {
		out = append(out, c.Addr)
	}
	return out
}

func ports(changes []clusterip.Change) (out []int32) {
	for _, c := range changes {
		out = append(out, c.Port)
	}
	return out
}

// rangeFeed keeps the ranges of the space equal to the ServiceCIDR objects.
type rangeFeed struct {
	feed
	space *clusterip.Space
	codec runtime.Codec // of ServiceCIDR

	rangesMu sync.Mutex
	ranges   map[string]clusterip.Range
}

func newRangeFeed(client *clientv3.Client, codec runtime.Codec, space *clusterip.Space) *rangeFeed {
	r := &rangeFeed{space: space, codec: codec}
	r.feed = feed{
		client: client, prefix: rangePrefix, values: true,
		list: func(_ int64, kvs []*mvccpb.KeyValue) {
			r.rangesMu.Lock()
			defer r.rangesMu.Unlock()
			r.ranges = map[string]clusterip.Range{}
			for _, kv := range kvs {
				r.set(string(kv.Key), kv, kv.ModRevision)
			}
			r.publish()
		},
		apply: func(_ int64, events []*clientv3.Event) {
			r.rangesMu.Lock()
			defer r.rangesMu.Unlock()
			for _, e := range events {
				kv := e.Kv
				if e.Type == clientv3.EventTypeDelete {
					kv = nil
				}
				r.set(string(e.Kv.Key), kv, e.Kv.ModRevision)
			}
			r.publish()
		},
	}
	return r
}

// observe takes what a key holds at a revision (nil: nothing), as a conflict or a write of our own
// told it, ahead of the watch. What the watch has passed already is old news.
func (r *rangeFeed) observe(key string, kv *mvccpb.KeyValue, revision int64) {
	r.rangesMu.Lock()
	defer r.rangesMu.Unlock()
	if revision <= r.known() {
		return
	}
	if kv != nil {
		revision = kv.ModRevision
	}
	r.set(key, kv, revision)
	r.publish()
}

// observeObject is observe for a decoded object; deleted says that revision is its end.
func (r *rangeFeed) observeObject(obj *networkingv1.ServiceCIDR, revision int64, deleted bool) {
	r.rangesMu.Lock()
	defer r.rangesMu.Unlock()
	if revision <= r.known() {
		return
	}
	if deleted {
		r.drop(obj.Name, revision)
	} else {
		r.put(obj, revision)
	}
	r.publish()
}

func (r *rangeFeed) set(key string, kv *mvccpb.KeyValue, revision int64) {
	name := strings.TrimPrefix(key, rangePrefix)
	if kv == nil {
		r.drop(name, revision)
		return
	}
	obj := &networkingv1.ServiceCIDR{}
	if _, _, err := r.codec.Decode(kv.Value, nil, obj); err != nil {
		klog.ErrorS(err, "ServiceCIDR in etcd cannot be read; its range is not used", "name", name)
		return
	}
	obj.Name = name
	r.put(obj, revision)
}

// put and drop keep the newest revision, in whatever order news arrives.
func (r *rangeFeed) put(obj *networkingv1.ServiceCIDR, revision int64) {
	if r.ranges[obj.Name].Revision >= revision {
		return
	}
	r.ranges[obj.Name] = rangeOf(obj, revision)
}

func (r *rangeFeed) drop(name string, revision int64) {
	if r.ranges[name].Revision > revision {
		return
	}
	delete(r.ranges, name)
}

func (r *rangeFeed) publish() {
	r.space.SetRanges(slices.Collect(maps.Values(r.ranges)))
}

// rangeOf reads a ServiceCIDR: ready unless it is being deleted or says Ready is not True (B6.1).
func rangeOf(obj *networkingv1.ServiceCIDR, revision int64) clusterip.Range {
	rng := clusterip.Range{Name: obj.Name, Revision: revision, Ready: obj.DeletionTimestamp == nil}
	for _, c := range obj.Status.Conditions {
		if c.Type == networkingv1.ServiceCIDRConditionReady && c.Status != "True" {
			rng.Ready = false
		}
	}
	for _, cidr := range obj.Spec.CIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			rng.Prefixes = append(rng.Prefixes, p)
		}
	}
	return rng
}
