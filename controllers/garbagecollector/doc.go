// Package garbagecollector deletes objects whose owners are gone, and carries out the foreground
// and orphan policies of deleting an owner, by metadata.ownerReferences alone.
//
// An object with owner references is kept while one owner exists that is not itself waiting for
// its dependents to go. An owner counts as absent only after the API server was asked for it by
// name and answered with nothing or with another UID. An owner is looked for in the dependent's
// own namespace or, if its kind has none, in the cluster.
//
// It knows kinds from discovery only and reads nothing but metadata. Events are left out: there
// are many, they own nothing and nobody owns them. Only assemble imports it.
//
// # How it works
//
// One reflector per kind feeds a [graph]: a node per object, small, with its references, and an
// index from each owner's UID to its dependents. A change marks the nodes whose fate may have
// changed. A worker takes a mark, asks for the node's [situation], lets [next] decide, looks up
// owners nobody has seen if next says so, and carries the action out. Decisions are pure;
// actions carry the resource version they were decided on, so that a stale one is refused by the
// server and decided again.
//
// Concurrency: one goroutine owns the graph; reflectors send it changes, workers ask it
// questions. Nothing is acted upon before every kind was listed once.
package garbagecollector
