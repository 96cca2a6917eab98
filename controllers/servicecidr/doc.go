// Package servicecidr says when a ServiceCIDR is ready and lets one that is being deleted go as
// soon as no Service address depends on it (rules B5, with duet's differences).
//
// It does not allocate addresses, and it does not create the default ServiceCIDR: that is
// kubernetesservice. Only assemble imports it.
//
// A ServiceCIDR that stays costs two writes in its life, a finalizer and a condition, and needs
// no look at any address. For one that is being deleted the controller lists addresses and, while
// one of them stands in the way, watches that single address, the witness: the ServiceCIDR cannot
// go before the witness does. The witness is drawn at random, so that emptying a range of n
// addresses in any order costs about ln n lists. Between deletions no IPAddress is held in
// memory nor any event about one received.
//
// Concurrency: Run starts a few workers and one goroutine per witness; they end with it.
//
// Guarantees: the finalizer is removed only after a consistent list of ServiceCIDRs and of
// IPAddresses, read after the deletion was stored, shows that nothing depends on the ServiceCIDR.
// From then on the allocator cannot hand out another address of it, because each allocation
// compares the revision of the ServiceCIDR in its transaction.
package servicecidr
