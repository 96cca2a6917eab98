package announce

import (
	"cmp"

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
	for _, bad := range [...]bool{s.Estranged, s.Unready, s.Fresh} {
		h *= 2
		if bad {
			h++
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
	sum := hash(string(service))
	best, weight := stations[0], mix(sum^hash(stations[0].Node))
	for _, s := range stations[1:] {
		w := mix(sum ^ hash(s.Node))
		if cmp.Or(s.handicap()-best.handicap(), cmp.Compare(weight, w), cmp.Compare(s.Node, best.Node)) < 0 {
			best, weight = s, w
		}
	}
	return best.Node
}

// hash is FNV-1a.
func hash(text string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return h
}

// mix spreads a hash: the last letters of a name hardly reach the upper bits of it (murmur3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
