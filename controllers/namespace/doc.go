// Package namespace keeps the four standard namespaces and empties a namespace that is being
// deleted: pods first, within their grace periods, then everything else, then the namespace. Its
// conditions tell what it waits for.
//
// It does not guard the standard namespaces against deletion, nor refuse new objects in a
// namespace that is going: that is admission. Only assemble imports it.
//
// Concurrency: Run starts a few workers, each working through the kinds of one namespace in
// parallel, and for each namespace that waits one goroutine per kind left, which watches it.
//
// Guarantees: a namespace is let go only after one consistent list of every namespaced kind that
// can be listed and deleted, made after its deletion was stored, came back empty.
package namespace
