package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/duetk8s/duet/dualstack"
)

// Wish is what a Service asks for.
type Wish struct {
	// Families in the order of spec.ipFamilies.
	Families []dualstack.Family
	// All of them or none (RequireDualStack).
	All bool
	// Requested are addresses that it wants to have, at most one of a family.
	Requested []netip.Addr
	// Held are addresses that it has.
	Held []netip.Addr
}

// Problem is why a Service does not have an address of a family. Reason is that of the condition.
type Problem struct {
	Family dualstack.Family
	Reason string
	Text   string
}

// Reasons of the condition LoadBalancerAddresses.
const (
	ReasonAssigned  = "Assigned"
	ReasonNoPool    = "NoPool"             // no pool has addresses of the family
	ReasonExhausted = "PoolExhausted"      // all are taken
	ReasonConflict  = "PoolConflict"       // what there is overlaps somebody else's addresses
	ReasonTaken     = "AddressTaken"       // the requested one is another Service's
	ReasonOutside   = "AddressOutsidePool" // the requested one is in no pool
	ReasonInvalid   = "AddressInvalid"     // the requested one is none, or of a family the Service has not
)

// Assign says which addresses a Service gets, in the order of its families, and what is wrong with
// those it does not get. taken tells which addresses other Services have.
func (ps Pools) Assign(w Wish, taken func(netip.Addr) bool) (got []netip.Addr, problems []Problem) {
	for _, r := range w.Requested {
		if !slices.Contains(w.Families, dualstack.Of(r)) {
			problems = append(problems, Problem{dualstack.Of(r), ReasonInvalid, fmt.Sprintf("the requested address %s is %s, which the Service is not", r, dualstack.Of(r))})
		}
	}
	for _, family := range w.Families {
		addr, problem := ps.one(family, w, taken)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		got = append(got, addr)
	}
	if w.All && len(got) < len(w.Families) {
		got = nil
	}
	return got, problems
}

// one finds an address of one family: the requested one, else that which the Service has, else a free one.
func (ps Pools) one(family dualstack.Family, w Wish, taken func(netip.Addr) bool) (netip.Addr, *Problem) {
	of := func(a netip.Addr) bool { return dualstack.Of(a) == family }
	if i := slices.IndexFunc(w.Requested, of); i >= 0 {
		r := w.Requested[i]
		may, refusal := ps.may(r)
		switch {
		case !may && slices.Contains(w.Held, r) && ps.contain(r):
			return r, nil
		case refusal != "":
			return r, &Problem{family, ReasonConflict, fmt.Sprintf("the requested address %s is not given: %s", r, refusal)}
		case !may:
			return r, &Problem{family, ReasonOutside, fmt.Sprintf("the requested address %s is in no pool", r)}
		case taken(r):
			return r, &Problem{family, ReasonTaken, fmt.Sprintf("the requested address %s belongs to another Service", r)}
		default:
			return r, nil
		}
	}
	for _, h := range w.Held {
		if of(h) && ps.contain(h) && !taken(h) {
			return h, nil
		}
	}
	addr, exists, ok, refusals := ps.free(family, taken)
	why := ""
	if len(refusals) > 0 {
		why = "; not used: " + strings.Join(refusals, ", ")
	}
	switch {
	case ok:
		return addr, nil
	case exists:
		return addr, &Problem{family, ReasonExhausted, fmt.Sprintf("no %s address is free in any pool%s", family, why)}
	case why != "":
		return addr, &Problem{family, ReasonConflict, fmt.Sprintf("no pool has %s addresses to give%s", family, why)}
	default:
		return addr, &Problem{family, ReasonNoPool, fmt.Sprintf("no pool has %s addresses", family)}
	}
}
