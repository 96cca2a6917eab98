// Package dns answers the names of the cluster: Services, their endpoints and ports, Pods, and the
// way back from addresses (behaviour.md, D5; the DNS-Based Service Discovery specification 1.1.0).
//
// What is answered is decided by Zone.Answer, which is pure; Server holds the sockets and publishes
// where they are as EndpointSlices of Service kube-system/kube-dns.
//
// # Guarantees
//
// Nothing is computed in advance: an answer is what the informers know at that moment, so a change
// is answered as soon as it has been watched, in the same time at any number of Services.
//
// A name of the zone is never asked for elsewhere.
package dns
