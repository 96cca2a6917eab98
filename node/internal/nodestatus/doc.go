// Package nodestatus tells the API what a node is and how it does: it registers the Node, keeps its
// addresses, capacity, conditions and versions true, and renews the node's Lease.
//
// Which addresses a node has is found out without being told, in both families ([Choose], pure), and
// followed as the kernel reports changes; --node-ip narrows it down (behaviour.md D2.1-D2.3). The
// order is Hostname, then one InternalIP of each family, the primary family first.
//
// # Concurrency
//
// One goroutine, that of [Status.Run], looks at the machine and writes to the API. The other
// methods may be called from anywhere.
//
// # Guarantees
//
// A status is written when something in it changed, and every five minutes; the Lease at the start
// and then every ten seconds. A Node that somebody deleted is registered again. Fields that others
// keep (podCIDRs, taints, foreign labels and conditions) are never touched.
package nodestatus
