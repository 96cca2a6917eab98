// Package hostnet is the driver of a node's own network stack: addresses, routes, a bridge, sysctls,
// tracked flows, and what one nftables table holds, which package nft writes. It reads and writes what
// it is told to and decides nothing; what a node wants of its stack is said by node/internal/network,
// node/internal/nodestatus and proxy.
//
// Everything happens in the network namespace of the calling thread, which for the agent is that of
// its process.
//
// # Guarantees
//
// The functions that write take the whole wanted state and are idempotent: what is there already is
// left alone, and what they made earlier and is no longer wanted is removed. Routes are told apart
// from other people's by their protocol number, [RouteProtocol].
package hostnet
