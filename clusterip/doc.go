// Package clusterip decides which cluster addresses and node ports a Service gets.
//
// [Space.Plan] is that decision, the allocation hook of creating and updating a Service: which IP
// families, which addresses, which node ports, or which error. [Space] is what the decision looks
// at: the ranges of all ServiceCIDRs and the addresses and node ports that somebody holds.
// [Claims] says what a stored Service holds; [Audit] checks a whole cluster against it.
//
// It does not default, wipe or validate the rest of a Service (package apiserver/service does), and
// it reserves nothing: whoever stores the Service writes its claims in the same etcd transaction,
// on the condition that nobody else has them. It does no I/O and imports neither os, net nor
// client-go; the API server and the controllers may import it.
//
// Rule ids such as A3.4 are those of the behaviour specification; a test is named after each.
//
// # Guarantees
//
//   - A plan is a function of the Service, the Space and Config.Rand: same inputs, same plan.
//   - Every planned address lies in a ready range, every planned node port in the range of node
//     ports, and none of them twice in one Service.
//   - Cost does not depend on how much is taken, on the length of a prefix, or on the family: no
//     range is ever listed or materialised.
//
// # Concurrency
//
// All methods of a Space may be called from any goroutine. Readers (Plan, Usage, Guard) share a
// lock that writers hold for one change.
//
// # The Space is a hint; why it comes to agree with etcd
//
// Taken addresses are keys in etcd; the transaction that stores a Service is the lock. The Space
// only saves most failed attempts, so it may be wrong for a moment. It hears of a key in two ways:
// from the watch ([Space.Apply], in order, always believed) and, sooner, from the server's own
// transactions ([Space.Observe], believed only if newer than the last change that the watch
// brought). Two servers on one etcd and late answers make any interleaving possible, yet:
//
//	Whenever the Space is wrong about a key, the watch has yet to bring a change of that key.
//
// Proof. Look at what was last written down for the key. If the watch brought it, it was true at
// the revision it bears, so only a later change can have made it wrong, and the watch, which skips
// nothing, has yet to bring that one. If an observation at revision r brought it, it was true at r,
// so a change after r made it wrong. Had the watch brought that change before the observation, the
// watch would have been past r and the observation ignored; had it brought it since, that, and not
// the observation, would have been written last. So it is still to come.
//
// Hence once writers pause and the watch has caught up, the Space equals etcd; and a Plan that
// loses its transaction to a key has either learnt of it from the answer or is about to from the
// watch, so trying again ends.
//
// What the callers owe this argument: Apply gets every change of the watched prefix, all changes of
// one revision in one call; Observe gets what was true at the revision given with it (the changes
// of a transaction that succeeded, with its revision; or keys read in the Else branch of one that
// failed, with the revision of that answer).
package clusterip
