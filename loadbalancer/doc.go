// Package loadbalancer gives Services of type LoadBalancer addresses from pools, one of each of
// their families in the order of spec.ipFamilies, and writes them to status.loadBalancer with
// ipMode VIP (behaviour.md, D7). The proxies of the nodes make the addresses work.
//
// What a Service gets is decided by Pools.Assign, which is pure; Controller keeps what was given. Which
// node answers for an address is package announce's.
//
// Pools are those of the server's flag, then those of ConfigMap kube-system/load-balancer-pools, by name:
//
//	data:
//	  office: 192.0.2.64/28, 2001:db8::e000/120
//
// What is wrong with it is an event on the ConfigMap. A prefix that has addresses of nodes, Pods or
// ServiceCIDRs gives nothing more until it no longer has; what Services have from it stays theirs.
//
// # Guarantees
//
// No address is given to two Services: one goroutine gives, it reads what all Services have before
// it gives anything, and takes an address back only when the status that named it has been written
// without it. A Service keeps its addresses for as long as they suit what it asks for.
//
// A Service that cannot have what it asks for stays: an event and the condition LoadBalancerAddresses
// say why, and it is looked at again when addresses come free or pools change. Without any pool, or with
// another loadBalancerClass, a Service is left alone.
package loadbalancer
