// Package node is the agent of a node: it runs the Pods that are bound to it and says how they are.
//
// Each Pod has a worker with one goroutine. Whatever happens, a change in the API, the end of a
// process, the answer of a probe, the result of something it had begun, comes into the worker's
// mailbox; then it asks package podstate what to do about what is known now, begins that, and tells
// the API. Nothing waits for a timer but back-offs and deadlines.
//
// What a worker knows is not written down: an agent that starts asks the runtime, and takes over
// the containers it finds by their labels without touching them. After each interruption of the
// runtime's events it asks again.
//
// Only assemble imports it.
//
// Concurrency: a worker's fields belong to its goroutine. What takes time runs beside it and sends
// a note back.
//
// Guarantees: the API sees a Pod's statuses in the order in which they were true. A Pod leaves the
// API after its last status, when nothing of it is left on the node.
package node
