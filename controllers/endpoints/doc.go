// Package endpoints publishes the Pods that a Service selects as an Endpoints object, for clients
// that do not know EndpointSlices (behaviour.md, D4.9): of the Service's first family only, and no
// more than a thousand.
//
// What the object should be is decided by desired, which is pure; Controller writes it, a moment after
// the change: Services answer by their EndpointSlices, and the processors are needed for those first.
package endpoints
