// Package registry is the cluster's image mirror: an OCI distribution API over a folder. Nodes ask
// it before any other registry, for images of every registry, so that what `duet image load` has
// put in is there for nodes that join later, for imagePullPolicy Always and without a way out.
//
// It serves HTTP and nothing else: who may read or write is the API server's business, which
// mounts it at /v2/ (docs/adr/0010). It pulls nothing, and it never deletes. Package load, its
// client, shares no code with it. Only assemble imports it.
//
// Concurrency: any number of requests at a time; the file system is the only shared state, and
// files come into being by rename.
//
// # Guarantees
//
// A file that is there is whole: content is hashed while it is written, made durable, and then
// renamed to its digest. A tag names a manifest whose config and layers are all there. A crash
// leaves unfinished files behind, which the next Open removes.
package registry
