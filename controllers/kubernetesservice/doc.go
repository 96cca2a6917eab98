// Package kubernetesservice keeps the objects that a cluster cannot be without and that only the
// server's own configuration determines: the default ServiceCIDR (rules B4), the Service
// default/kubernetes (A3.9) with its Endpoints and EndpointSlice (D4.10), and the Service
// kube-system/kube-dns on the tenth address of each range.
//
// It does not run DNS, and never changes a Service that exists: who deletes one gets it back.
// Only assemble imports it.
//
// Several servers on one etcd each keep a Lease named after the address they advertise; the
// endpoints of default/kubernetes are the addresses with a Lease that has not expired. The times
// are of the servers' own clocks, which must agree to a third of the Lease's duration (10 s).
//
// Concurrency: [Controller.Ensure] before [Controller.Run], both once. One worker does all the
// keeping.
package kubernetesservice
