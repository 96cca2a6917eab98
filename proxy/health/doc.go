// Package health answers load balancers and monitors on a node: whether the proxy keeps up (/healthz,
// /livez and /metrics on port 10256), and, at a Service's spec.healthCheckNodePort, whether this node
// has ready endpoints of it (D6.8, D6.9).
//
// It opens sockets in the node's own namespace and writes nothing to the kernel; package proxy does
// that, and tells a [Gauge] how far it has come.
//
// # Concurrency
//
// Requests are answered from many goroutines, out of what is in memory; one goroutine of
// [Server.Run] opens and closes ports. A Gauge may be used from anywhere.
//
// # Guarantees
//
// A port is open in exactly the families in which the Service has a ClusterIP, and free again once the
// Service no longer wants it. One that somebody else has is tried again; the Service gets an event.
package health
