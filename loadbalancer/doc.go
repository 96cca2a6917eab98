// Package loadbalancer gives Services of type LoadBalancer addresses from pools, one of each of
// their families in the order of spec.ipFamilies, and writes them to status.loadBalancer with
// ipMode VIP (behaviour.md, D7). The proxies of the nodes make the addresses work.
//
// What a Service gets is decided by Pools.Assign, which is pure; Controller keeps what was given.
//
// # Guarantees
//
// No address is given to two Services: one goroutine gives, it reads what all Services have before
// it gives anything, and takes an address back only when the status that named it has been written
// without it. A Service keeps its addresses for as long as they suit what it asks for.
//
// A Service that cannot have what it asks for stays: an event and the condition LoadBalancerAddresses
// say why, and it is looked at again when addresses come free.
package loadbalancer
