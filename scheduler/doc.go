// Package scheduler gives Pods their nodes. A Pod goes through a list of filters, which say which
// nodes it can run on and why it cannot on the others, and a list of scores, which say where it
// would run best; then it is bound. What finds a place where there is none, preemption for one, is
// a third list (profile.go). Everything up to binding is a pure decision over a picture of the
// cluster in memory: decide.go.
//
// It looks after Pods that ask for it by spec.schedulerName, have no node, and are not gated. It
// starts no Pods and moves none. Only assemble imports it.
//
// Nothing here polls. A Pod that fits nowhere is parked with the changes that could help it, and
// comes back when one happens. Time plays a part only after the API server has refused a binding.
//
// Concurrency: one goroutine owns the picture, the queue and all decisions; informers and finished
// bindings send it messages (inbox.go). Bindings and reports are written by others, so that a slow
// answer delays nobody else.
//
// # Guarantees
//
// From its decision on, a Pod counts on its node, so that the next one does not take its place;
// until an informer shows it there, it is removed, or the binding fails. No report that a Pod fits
// nowhere overwrites that it has been bound: reports carry the version of the Pod they are about.
package scheduler
