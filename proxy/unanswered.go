package proxy

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/hostnet"
)

const (
	// answerWithin is how long an endpoint has for its first packet to a client. A client of TCP asks
	// again after a second.
	answerWithin = 500 * time.Millisecond
	// lookShare of a processor is the most that looking for flows may take: 1/20.
	lookShare = 20
)

// unanswered makes the kernel forget TCP flows to endpoints that have gone without an answer, as those
// of a node that died. The kernel keeps such a flow for two minutes and goes on sending to the one
// endpoint: all that its client sends, what another client sends from the same port after it, and, once
// the address is another Pod's, to that Pod. Forgotten, the next packet is sent to an endpoint that there is.
//
// What goes while no proxy runs is not looked for.
//
// A flow whose answer is on the way must stay, so a flow is forgotten if it was without one twice,
// [answerWithin] apart. When an endpoint ends as it should there is none to be seen the first time, and no
// second. Looking takes the kernel longer than a change of a Service, so it has a goroutine of its own.
type unanswered struct {
	host  Host
	ready chan struct{} // capacity 1

	mu   sync.Mutex
	gone map[netip.AddrPort]bool // not looked for yet
}

// leave hands over endpoints that have gone.
func (u *unanswered) leave(gone map[netip.AddrPort]bool) {
	if len(gone) == 0 {
		return
	}
	u.mu.Lock()
	maps.Copy(u.gone, gone)
	u.mu.Unlock()
	select {
	case u.ready <- struct{}{}:
	default:
	}
}

// run forgets until ctx ends.
func (u *unanswered) run(ctx context.Context) {
	waiting := map[hostnet.Flow]bool{}
	for {
		if len(waiting) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-u.ready:
			}
		}
		began := time.Now()
		u.mu.Lock()
		gone := u.gone
		u.gone = map[netip.AddrPort]bool{}
		u.mu.Unlock()
		next, err := u.look(gone, waiting)
		if err == nil {
			waiting = next
		} else {
			klog.FromContext(ctx).Error(err, "TCP clients may wait for endpoints that have gone, trying again")
			u.leave(gone)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(answerWithin, lookShare*time.Since(began))):
		}
	}
}

// look forgets the flows that were waiting and still are, and returns others that wait for endpoints
// that have gone.
func (u *unanswered) look(gone map[netip.AddrPort]bool, waiting map[hostnet.Flow]bool) (next map[hostnet.Flow]bool, _ error) {
	next = map[hostnet.Flow]bool{}
	err := u.host.ForgetUnanswered(func(f hostnet.Flow) bool {
		if waiting[f] {
			return true
		}
		if f.Protocol == unix.IPPROTO_TCP && gone[f.By] {
			next[f] = true
		}
		return false
	})
	return next, err
}
