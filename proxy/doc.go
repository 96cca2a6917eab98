// Package proxy makes the addresses of Services answer on one node: it keeps the nftables table
// duet-proxy as the Services and EndpointSlices want it. docs/adr/0020 says what the table looks like
// and why.
//
// Package health, below, answers at Services' health-check ports and says how the proxy keeps up.
//
// It does not hand out addresses (package clusterip), announce load balancers' addresses (package
// loadbalancer), or find endpoints (controllers/endpointslice).
//
// The way is the same as everywhere: [Ports] decides what a Service wants, without I/O; a ledger
// compares with what is installed; package nft writes the difference in one transaction. The work for
// a change of one Service depends on that Service alone.
//
// # Concurrency
//
// Informers, and those who watch the table and the links, mark what is to be looked at; the one
// goroutine of [Proxy.Run] owns everything else. Stale UDP flows are cut by another, TCP flows
// without an answer by a third.
//
// # Guarantees
//
// A packet is translated as the Services were at one moment. Connections that exist are not touched
// by changes of others, by a restart of the proxy, or by a repair. Whatever somebody else does to the
// table is noticed at once and repaired.
package proxy
