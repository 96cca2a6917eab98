// Package network joins a node's Pods to each other, to the other nodes' Pods and to the world: the
// configuration for the CNI plugins, the bridge, routes to the other nodes' Pod ranges, masquerading
// for what leaves the cluster, host ports, forwarding; each per family, from the podCIDRs and the
// addresses that the Nodes have in the API.
//
// It is snapshot → [Plan] → one write: Plan is pure and tested as a table; package hostnet writes.
// Services are the proxy's business, addresses of the node itself are package nodestatus's.
//
// A CNI configuration of somebody else in the directory wins, now or whenever it appears: then there
// is no configuration, no route, no bridge and no nftables table of ours.
//
// # Guarantees
//
// What is there stays there when the agent stops: Pods keep their network. Everything that Plan
// wants is put back when it goes missing, be it a route that the kernel dropped with a link, the
// bridge or a file.
package network
