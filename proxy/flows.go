package proxy

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
)

// front is where UDP clients send to: an address of a Service, or, without one, a node port.
type front struct {
	family dualstack.Family
	ip     netip.Addr
	port   uint16
}

// backends are who may answer at a front.
type backends []netip.AddrPort

// suspects are fronts with flows that may be wrong, and who may answer there by which Service: a front
// that goes from one to another is of both for a moment.
type suspects map[front]map[string]backends

func (s suspects) add(at front, service string, may backends) {
	if s[at] == nil {
		s[at] = map[string]backends{}
	}
	s[at][service] = may
}

// may tells who may answer at a front, and whether the front is a suspect.
func (s suspects) may(at front) (may backends, ok bool) {
	for _, list := range s[at] {
		may, ok = append(may, list...), true
	}
	return may, ok
}

// fronts of a Service's ports. UDP has no end: while a client goes on sending from the same port the
// kernel goes on translating to the endpoint that it chose first, even when that has gone.
func fronts(ports []Port) map[front]backends {
	var out map[front]backends
	for i := range ports {
		p := &ports[i]
		if p.Protocol != unix.IPPROTO_UDP {
			continue
		}
		if out == nil {
			out = map[front]backends{}
		}
		may := slices.Concat(p.All, p.Local)
		for _, ip := range slices.Concat([]netip.Addr{p.ClusterIP}, p.External, p.Balancers) {
			out[front{p.Family, ip, p.Port}] = may
		}
		if p.NodePort != 0 {
			out[front{family: p.Family, port: p.NodePort}] = may
		}
	}
	return out
}

// compare suspects the fronts of a Service where an endpoint has gone, or the first has come, before
// which packets were sent on untranslated, but for those in closed ranges.
func (s suspects) compare(service string, old, now map[front]backends, closed []netip.Prefix) {
	for f, was := range old {
		may := now[f]
		if slices.ContainsFunc(was, func(e netip.AddrPort) bool { return !slices.Contains(may, e) }) {
			s.add(f, service, may)
		}
	}
	for f, may := range now {
		if len(may) > 0 && len(old[f]) == 0 && !within(closed, f.ip) {
			s.add(f, service, may)
		}
	}
}

func within(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// flows makes the kernel forget those that are wrong. To find them the kernel looks at all there could
// be, which takes five milliseconds however few there are, a hundred times a change of a Service: it has
// a goroutine of its own, and is not asked without need.
type flows struct {
	host  Host
	ready chan struct{} // capacity 1

	mu    sync.Mutex
	wrong suspects
	// closed ranges are new ones of these: no packet gets there untranslated any more.
	closed []netip.Prefix
}

// forget hands suspects over, later ones count, and ranges that have been closed.
func (f *flows) forget(wrong suspects, closed []netip.Prefix) {
	if len(wrong)+len(closed) == 0 {
		return
	}
	f.mu.Lock()
	f.closed = append(f.closed, closed...)
	for at, services := range wrong {
		for name, may := range services {
			f.wrong.add(at, name, may)
		}
	}
	f.mu.Unlock()
	f.wake()
}

// run forgets until ctx ends.
func (f *flows) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.ready:
		}
		wrong, closed := f.take()
		if err := f.clear(wrong, closed); err != nil {
			klog.FromContext(ctx).Error(err, "UDP clients may be sent to endpoints that have gone, trying again", "in", retryFirst)
			f.again(wrong, closed)
		}
	}
}

// take empties what was handed over.
func (f *flows) take() (suspects, []netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wrong, closed := f.wrong, f.closed
	f.wrong, f.closed = suspects{}, nil
	return wrong, closed
}

// again keeps suspects for later, but for those that are suspected anew.
func (f *flows) again(wrong suspects, closed []netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, closed...)
	for at, services := range wrong {
		if f.wrong[at] == nil {
			f.wrong[at] = services
		}
	}
	time.AfterFunc(retryFirst, f.wake)
}

func (f *flows) wake() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

func (f *flows) clear(wrong suspects, closed []netip.Prefix) error {
	s, err := f.host.Read()
	if err != nil {
		return err
	}
	own := map[netip.Addr]bool{}
	for _, a := range s.Addresses {
		own[a.Prefix.Addr()] = true
	}
	for _, family := range dualstack.Families() {
		own[hostnet.StandInOf(family).Addr] = true
	}
	has := func(family dualstack.Family) bool {
		return slices.ContainsFunc(slices.Collect(maps.Keys(wrong)), func(f front) bool { return f.family == family }) ||
			slices.ContainsFunc(closed, func(p netip.Prefix) bool { return dualstack.OfPrefix(p) == family })
	}
	return f.host.ForgetFlows(has(dualstack.IPv4), has(dualstack.IPv6), func(flow hostnet.Flow) bool {
		if flow.Protocol != unix.IPPROTO_UDP {
			return false
		}
		family := dualstack.Of(flow.To.Addr())
		may, ok := wrong.may(front{family, flow.To.Addr(), flow.To.Port()})
		if !ok && own[flow.To.Addr()] {
			may, ok = wrong.may(front{family: family, port: flow.To.Port()})
		}
		if flow.To == flow.By { // not translated
			return ok && len(may) > 0 || within(closed, flow.To.Addr())
		}
		return ok && !slices.Contains(may, flow.By)
	})
}
