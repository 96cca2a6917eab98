package scheduler

// profile is all that decides where a Pod goes. Each list is tried in order.
type profile struct {
	filters []filter
	scores  []score
	rescues []rescue
}

// filter says whether a Pod can run on a node.
type filter struct {
	name string
	// helps are the changes after which check may say something else.
	helps change
	check func(*pod, *node) refusal
}

// refusal says why a Pod cannot run on a node; without reasons it can.
type refusal struct {
	reasons []string
	// final means that it could not even if other Pods left the node.
	final bool
}

// score rates the nodes that a Pod can run on, each from 0 to maxScore; weight is what the score
// counts among the others.
type score struct {
	name   string
	weight int64
	rate   func(*pod, []*node) []int64
}

const maxScore = 100

// rescue is asked when a Pod fits nowhere; refusals are in the order of nodes. It returns what it
// will do about it or why it can do nothing, to follow the reasons: "preemption: …". What has to
// happen for it (Pods to be evicted, a node nominated) will become a second result when there is a
// rescue that does something.
type rescue struct {
	name  string
	apply func(*pod, []*node, []refusal) string
}

// standard follows upstream's default plug-ins in order and texts, which people and tools know:
// the first filter to refuse is the one that is told.
func standard() profile {
	return profile{
		filters: []filter{
			{"NodeUnschedulable", nodeTaints, checkUnschedulable},
			{"TaintToleration", nodeTaints, checkTaints},
			{"NodeAffinity", nodeLabels, checkAffinity},
			{"NodePorts", podGone, checkPorts},
			{"NodeResourcesFit", podGone | nodeResources, checkResources},
		},
		scores: []score{
			{"TaintToleration", 3, rateTaints},
			{"NodeAffinity", 2, rateAffinity},
			{"Spread", 2, rateSpread},
			{"LeastAllocated", 1, rateLeastAllocated},
		},
		rescues: []rescue{
			{"DefaultPreemption", noPreemption},
		},
	}
}
