// Package dns answers the names of the cluster: Services, their endpoints and ports, Pods, and the
// way back from addresses (behaviour.md, D5; the DNS-Based Service Discovery specification 1.1.0); and
// asks others for all other names, if it is told whom (ADR 22).
//
// What is answered is decided by Zone.Answer, which is pure; Server holds the sockets and publishes
// where they are as EndpointSlices of Service kube-system/kube-dns. Whom to ask is in a resolv.conf and
// in ConfigMap kube-system/kube-dns (custom.go says what may be in it).
//
// It keeps no answers of others, signs nothing, and gives no list of a zone away (AXFR).
//
// # Guarantees
//
// Nothing is computed in advance: an answer is what the informers know at that moment, so a change
// is answered as soon as it has been watched, in the same time at any number of Services.
//
// A name of the zone, and one of an address of the cluster's ranges, is never asked for elsewhere. An
// upstream is believed only what it was asked. A wrong ConfigMap changes nothing.
package dns
