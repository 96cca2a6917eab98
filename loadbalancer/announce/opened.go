package announce

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/dualstack"
)

// An address is announced when it is taken over, and again after these beats: a frame may be lost, and
// whoever answered before may have announced it a moment later.
var again = []int{1, 7, 14}

// opened is a link that the node is on.
type opened struct {
	a       *Announcer
	index   int
	station string
	link    Link
	stop    context.CancelFunc
	running sync.WaitGroup
	ticker  *time.Ticker

	moved     bool      // it may no longer be the right link
	since     time.Time // it is on the link without a break
	beaten    time.Time // its last beat
	beats     int
	stations  stations
	held      map[netip.Addr]string   // what it answers for, and which Service's that is
	byService map[string][]netip.Addr // the other way round
	due       map[netip.Addr][]int    // at which beats it announces them
}

// enter opens a link and says hello.
func (a *Announcer) enter(ctx context.Context, index int, station string) error {
	running, stop := context.WithCancel(ctx)
	now := time.Now()
	o := &opened{
		a: a, index: index, station: station, stop: stop, since: now, beaten: now,
		stations: stations{}, held: map[netip.Addr]string{}, byService: map[string][]netip.Addr{}, due: map[netip.Addr][]int{},
	}
	link, err := a.config.Host.Open(index, ear{running, o})
	if err != nil {
		stop()
		return err
	}
	o.link, o.ticker, a.open = link, time.NewTicker(interval), o
	o.running.Go(func() {
		if err := link.Run(running); err != nil {
			klog.FromContext(ctx).Error(err, "Lost the link where load balancers are answered for")
			ear{running, o}.tell(a.leave)
			a.again()
		}
	})
	o.beat(ctx, true)
	return nil
}

// leave ends all answers.
func (a *Announcer) leave() {
	if a.open == nil {
		return
	}
	a.open.stop()
	a.open.ticker.Stop()
	a.open.running.Wait()
	a.open = nil
}

// ear hands what the link hears to Run's goroutine.
type ear struct {
	ctx context.Context //nolint:containedctx // of the link
	o   *opened
}

func (e ear) tell(f func()) {
	select {
	case e.o.a.news <- func() {
		if e.o.a.open == e.o {
			f()
		}
	}:
	case <-e.ctx.Done():
	}
}

// Beat of another node.
func (e ear) Beat(payload []byte) {
	if b, ok := decode(payload); ok && b.Cluster == e.o.a.config.Cluster && b.Node != e.o.a.config.Node {
		e.tell(func() { e.o.heard(e.ctx, b) })
	}
}

// Claimed: somebody else says that it has one of our addresses. If it is still ours with the next beat
// we say so again.
func (e ear) Claimed(addr netip.Addr) {
	e.tell(func() { e.o.soon(addr) })
}

// soon announces an address with the next beat.
func (o *opened) soon(addr netip.Addr) {
	if _, ours := o.held[addr]; ours && !slices.Contains(o.due[addr], o.beats+1) {
		o.due[addr] = append(o.due[addr], o.beats+1)
	}
}

// heard takes up the beat of another node.
func (o *opened) heard(ctx context.Context, b beat) {
	changed, came := o.stations.hear(b, time.Now())
	if b.Hello {
		o.beat(ctx, false)
	}
	if changed {
		o.electAll(ctx)
	}
	if came { // it may have answered for what is ours
		for addr := range o.held {
			o.soon(addr)
		}
	}
}

// tick is the node's beat.
func (o *opened) tick(ctx context.Context) {
	if o.moved {
		o.moved = false
		if o.a.place(ctx); o.a.open != o {
			return
		}
	}
	now := time.Now()
	if now.Sub(o.beaten) > tolerance*interval { // this process stood still: others think it dead
		o.since = now
	}
	o.beats++
	o.beat(ctx, false)
	// The first beat ends the time in which the others answer the hello.
	if o.stations.tick(now) || o.beats == 1 {
		o.electAll(ctx)
	}
	for addr, due := range o.due {
		if !slices.Contains(due, o.beats) {
			continue
		}
		o.announce(ctx, addr)
		if due = slices.DeleteFunc(due, func(n int) bool { return n <= o.beats }); len(due) == 0 {
			delete(o.due, addr)
		} else {
			o.due[addr] = due
		}
	}
}

// beat tells the others that the node is there, and takes note of it itself.
func (o *opened) beat(ctx context.Context, hello bool) {
	o.a.mu.Lock()
	contact := o.a.contact
	o.a.mu.Unlock()
	now := time.Now()
	b := beat{
		Cluster: o.a.config.Cluster, Node: o.a.config.Node, Hello: hello,
		Up: now.Sub(o.since), Silence: now.Sub(contact),
	}
	o.beaten = now
	if err := o.link.Beat(b.encode()); err != nil {
		klog.FromContext(ctx).V(2).Info("The others cannot hear this node", "err", err) // the link is down
	}
	if changed, _ := o.stations.hear(b, now); changed {
		o.electAll(ctx)
	}
}

func (o *opened) announce(ctx context.Context, addr netip.Addr) {
	if err := o.link.Announce(addr); err != nil {
		klog.FromContext(ctx).V(2).Info("Not announced", "err", err) // the link is down
	}
}

// electAll decides anew about all Services: nodes have changed.
func (o *opened) electAll(ctx context.Context) {
	services := slices.Collect(maps.Keys(o.a.claims))
	for key := range o.byService {
		if _, claims := o.a.claims[key]; !claims {
			services = append(services, key)
		}
	}
	o.elect(ctx, services)
}

// elect decides for which addresses of these Services the node answers, and announces those that are
// new.
func (o *opened) elect(ctx context.Context, services []string) {
	if o.beats == 0 {
		return // still listening who is there
	}
	changed := false
	taken := map[string][]netip.Addr{}
	candidates := o.candidates()
	for _, key := range services {
		before, now := o.byService[key], o.elected(o.a.claims[key], candidates)
		if slices.Equal(before, now) {
			continue
		}
		changed = true
		for _, addr := range before {
			if o.held[addr] == key && !slices.Contains(now, addr) {
				delete(o.held, addr)
				delete(o.due, addr)
			}
		}
		for _, addr := range now {
			if _, had := o.held[addr]; !had {
				taken[key] = append(taken[key], addr)
			}
			o.held[addr] = key
		}
		o.byService[key] = now
		if len(now) == 0 {
			delete(o.byService, key)
		}
	}
	if !changed {
		return
	}
	if err := o.link.Answer(slices.Collect(maps.Keys(o.held))); err != nil {
		klog.FromContext(ctx).Error(err, "IPv6 addresses of load balancers may be hard to find")
	}
	for _, addrs := range taken {
		for _, addr := range addrs {
			o.announce(ctx, addr)
			o.due[addr] = nil
			for _, n := range again {
				o.due[addr] = append(o.due[addr], o.beats+n)
			}
		}
	}
	o.report(ctx, taken)
}

func (o *opened) candidates() map[dualstack.Family][]Station {
	out := map[dualstack.Family][]Station{}
	for _, f := range dualstack.Families() {
		out[f] = o.stations.candidates(f, o.a.members)
	}
	return out
}

// elected are the addresses of a claim that this node is elected for.
func (o *opened) elected(c Claim, candidates map[dualstack.Family][]Station) (out []netip.Addr) {
	won := map[dualstack.Family]bool{}
	for _, addr := range c.Addresses {
		f := dualstack.Of(addr)
		mine, decided := won[f]
		if !decided {
			mine = Elect(c.Service, c.among(candidates[f], f)) == o.a.config.Node
			won[f] = mine
		}
		if mine {
			out = append(out, addr)
		}
	}
	return out
}

// report says which addresses the node has taken over.
func (o *opened) report(ctx context.Context, taken map[string][]netip.Addr) {
	for key, addrs := range taken {
		slices.SortFunc(addrs, netip.Addr.Compare)
		text := make([]string, len(addrs))
		for i, a := range addrs {
			text[i] = a.String()
		}
		list := strings.Join(text, ", ")
		klog.FromContext(ctx).Info("Answering for a load balancer", "service", key, "addresses", list)
		if svc, exists, err := o.a.deps.Services.GetStore().GetByKey(key); err == nil && exists {
			o.a.deps.Events.Eventf(svc.(*corev1.Service), corev1.EventTypeNormal, "AnnouncingLoadBalancer",
				"Node %s answers for %s", o.a.config.Node, list)
		}
	}
}
