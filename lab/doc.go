// Package lab builds and removes a cluster on one machine: the network namespaces, the bridge that
// joins them, the way out if there is one, the server process and the nodes that live inside. It is
// what `duet up`, `duet down` and `duet status` call.
//
//	host namespace                     duet-NAME-net            duet-NAME-control
//	127.0.0.1:PORT (socket handed over)                         duet server, [::]:6443
//	duet-NAME ─────────────────────── uplink ─ br0 ─ control ─── eth0 172.30.0.2, fd00:172:30::2
//	(only with --uplink)                       172.30.0.1
//	                                               │          duet-NAME-worker0
//	                                               ├─ worker0 eth0 172.30.0.3, fd00:172:30::3
//	                                               │          box: containerd, duet node, Pods
//	                                               └─ …
//
// A node is a box, a pid and a mount namespace of its own: with its first process, which
// [RunBox] is, every process, mount and namespace of the node ends.
//
// It knows nothing of what the server and the agent do: it starts a program with descriptors and
// arguments, waits for lines on pipes, and asks the API about nodes through [Cluster]. Only package
// cli imports it.
//
// # Guarantees
//
// One process at a time works on a data directory: the lock on DIR/lock is taken by `duet up`,
// inherited by the server as an open descriptor, and goes away with the last of them however they
// die. cluster.json is written before anything else and removed last, so an interrupted up or down
// can always be run again. A directory without cluster.json is never emptied. In the same way the
// lock on DIR/nodes/NODE/lock belongs to the node's box.
//
// Whatever dies, nothing else does: a box starts its containerd and its agent again; `duet up` starts
// a server or a box again and touches nothing that runs as it should.
//
// # Concurrency
//
// Nothing runs in the background once a function has returned. Code that must run inside a network
// namespace does so on an operating-system thread of its own (see [within]).
package lab
