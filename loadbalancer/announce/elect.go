package announce

import (
	"hash/fnv"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Station is a node that is on the link, and what speaks against it.
type Station struct {
	Node string
	// Fresh: it has been there for a short time only.
	Fresh bool
	// Unready: it says in the API that it is not ready.
	Unready bool
	// Estranged: it has not heard from the API server for a long time, others have. What it knows of
	// endpoints may be old.
	Estranged bool
}

// handicap orders stations; the least goes first.
func (s Station) handicap() (h int) {
	for i, bad := range []bool{s.Fresh, s.Unready, s.Estranged} {
		if bad {
			h += 1 << i
		}
	}
	return h
}

// Elect says which node answers for the addresses of a Service, "" if there is none. The same stations
// in whatever order give the same node, and a station that comes or goes changes nothing between the
// others (rendezvous hashing).
func Elect(service types.UID, stations []Station) string {
	if len(stations) == 0 {
		return ""
	}
	return slices.MinFunc(stations, func(a, b Station) int {
		if d := a.handicap() - b.handicap(); d != 0 {
			return d
		}
		x, y := weight(service, a.Node), weight(service, b.Node)
		switch {
		case x > y || x == y && a.Node < b.Node:
			return -1
		case a.Node == b.Node:
			return 0
		}
		return 1
	}).Node
}

// weight of a node for a Service.
func weight(service types.UID, node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(service))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(node))
	// The last letters of a name hardly reach the upper bits of that sum: spread them (murmur3).
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
