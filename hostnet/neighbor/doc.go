// Package neighbor is the driver of one link at the level of its frames: it answers for addresses
// that the machine does not have, by ARP (RFC 826) and neighbour discovery (RFC 4861), and exchanges
// beats, short signs of life, with other machines on the link. Who answers for what is decided by
// loadbalancer/announce.
//
// The addresses are given to no interface: the kernel neither uses them as a source nor answers for
// them itself, and when this process ends nobody answers any more. What is sent to them reaches the
// machine as any frame for its hardware address does.
//
// Beats are Ethernet frames of a type for local use (IEEE 802, 0x88b5) to a group of stations, so
// they get exactly as far as ARP does: no router, no address family and no packet filter between.
//
// # Concurrency
//
// All methods of [Link] may be called at any time. What it hears is told by goroutines of Run, each
// call before the next of its kind.
//
// # Guarantees
//
// An address is answered for from when Answer has been called with it until it is called without
// it. Frames that are malformed, come from afar (hop limit) or have a wrong checksum are ignored.
package neighbor
