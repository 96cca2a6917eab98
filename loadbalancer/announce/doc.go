// Package announce makes the addresses of load balancers answer on the nodes' network: for each
// Service one node says by ARP and neighbour discovery that the address is at its link, and another
// one says so within a second when that node dies. Each node runs an Announcer; they elect without a
// server (docs/adr/0021). What then happens to the packets is the proxy's business, which addresses a
// Service has is package loadbalancer's; addresses that somebody else gave are left alone.
//
// Who answers is decided by Elect, which is pure: of the nodes that are heard on the link, the first in
// an order that every node computes from the Service's UID alone. While there is any address to answer
// for, each node that is on the link sends a beat every 150 ms; who has missed five is dead.
//
// # Guarantees
//
// As long as the nodes hear each other, exactly one answers for an address. When a node dies its
// addresses are announced by another one within 750 ms of its last beat. While nodes see different things, the
// time that a beat or an event of the API takes, two may answer or none; the one that stays announces
// last. If the link itself is cut in two, one on each side answers for those who can reach it, and
// one of them gives up at the first beat that gets through.
//
// A node that comes back gets its share once it has been there for three seconds, all at once; one that
// is there now and then gets nothing. An agent that is restarted comes back, however soon: what the node
// answers for moves to others, and returns. With externalTrafficPolicy Local only nodes with an endpoint
// answer.
//
// Connections that the old node had translated do not outlive a move.
//
// # Limits
//
// Both families are answered for on one link, that which has the node's primary address.
//
// # Concurrency
//
// Run owns all state. Informers and the link hand it what they see.
package announce
