// Package nft is the driver of one nftables table over netlink: it installs chains, sets and maps,
// changes elements, and reads them back. What they mean is said by who calls it, package proxy.
//
// Everything happens in the network namespace of the thread that calls [Open].
//
// # Concurrency
//
// A [Table] belongs to one goroutine; only [Table.Watch] may run beside it.
//
// # Guarantees
//
// [Table.Rebuild] and [Table.Apply] are one transaction each: a packet sees all of it or nothing, and
// connections that are translated already go on. Commands go to the kernel in the order chains,
// elements that leave, elements that come, chains that leave, so that an element can change its data
// and nothing ever points to a chain that is not there.
package nft
