// Package cri is the driver of a container runtime: CRI v1 over a unix socket, and, where the
// runtime is containerd, its own event service on the same socket.
//
// It decides nothing: each method is one call, its error says what was asked of what. CRI's event
// stream is not there in containerd 1.6; containerd's own tells of an exit 1-4 ms after it, while
// the state that CRI shows follows 40-140 ms later. Who uses both takes an event as the truth about
// the container it names.
//
// Package node imports it.
//
// Concurrency: all methods may be called from anywhere.
//
// Guarantees: Events never ends while its context lives. After a gap, however short, it sends
// Relist before anything else, and nothing that happens after the list is lost.
package cri
