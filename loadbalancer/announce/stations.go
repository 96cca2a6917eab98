package announce

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/dualstack"
)

const (
	// interval between a node's beats.
	interval = 150 * time.Millisecond
	// A node is dead when it has missed so many.
	tolerance = 5
	// probation is how long a node is Fresh that came so much later than another.
	probation = 3 * time.Second
	// estrangement is how much longer than others a node may have heard nothing of the API server: as
	// long as that waits for the node.
	estrangement = 40 * time.Second
	// forgiveness is how long it may be so before it counts: when a server comes back the nodes hear it
	// one after the other, with their next heartbeats, which are 10 s apart.
	forgiveness = 20 * time.Second
)

// stations are the nodes that are heard on the link, oneself included.
//
// Time is counted in beats of one's own: a process that stood still has not heard the others, but
// that does not make them dead.
type stations map[string]*station

type station struct {
	missed           int
	since            time.Time // it has been there
	contact          time.Time // with the API server
	behind           time.Time // since when that is much longer ago than others'; zero: it is not
	fresh, estranged bool      // compared with others
}

// hear notes a beat. changed is true if it matters to elections, came if the node was not there.
func (s stations) hear(b beat, now time.Time) (changed, came bool) {
	known := s[b.Node]
	if came = known == nil; came {
		known = &station{}
		s[b.Node] = known
	}
	known.missed, known.since, known.contact = 0, now.Add(-b.Up), now.Add(-b.Silence)
	return s.compare(now) || came, came
}

// tick counts a beat of one's own, which has been heard, too. It tells whether anything changed.
func (s stations) tick(now time.Time) (changed bool) {
	for node, other := range s {
		if other.missed++; other.missed >= tolerance {
			delete(s, node)
			changed = true
		}
	}
	return s.compare(now) || changed
}

// compare finds out who is fresh and who is estranged: only in comparison with others, so that nothing
// moves when all nodes come at about the same time, or the API server goes.
func (s stations) compare(now time.Time) (changed bool) {
	first, last := now, time.Time{}
	for _, other := range s {
		if other.since.Before(first) {
			first = other.since
		}
		if other.contact.After(last) {
			last = other.contact
		}
	}
	for _, other := range s {
		fresh := now.Sub(other.since) < probation && other.since.Sub(first) > probation
		switch {
		case last.Sub(other.contact) <= estrangement:
			other.behind = time.Time{}
		case other.behind.IsZero():
			other.behind = now
		}
		estranged := !other.behind.IsZero() && now.Sub(other.behind) >= forgiveness
		changed = changed || fresh != other.fresh || estranged != other.estranged
		other.fresh, other.estranged = fresh, estranged
	}
	return changed
}

// member is what the API says of a node.
type member struct {
	excluded, unready bool
	addresses         []netip.Addr // the primary one first
}

func memberOf(n *corev1.Node) (m member) {
	_, m.excluded = n.Labels[corev1.LabelNodeExcludeBalancers]
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			m.unready = c.Status == corev1.ConditionFalse // Unknown is what others think of it
		}
	}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			m.addresses = append(m.addresses, ip)
		}
	}
	return m
}

func (m member) has(f dualstack.Family) bool {
	for _, a := range m.addresses {
		if dualstack.Of(a) == f {
			return true
		}
	}
	return false
}

// candidates for addresses of a family, whatever the Service.
func (s stations) candidates(f dualstack.Family, members map[string]member) []Station {
	var out []Station
	for node, heard := range s {
		if m, exists := members[node]; exists && !m.excluded && m.has(f) {
			out = append(out, Station{Node: node, Fresh: heard.fresh, Unready: m.unready, Estranged: heard.estranged})
		}
	}
	return out
}
