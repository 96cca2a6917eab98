// Package pki keeps the keys and certificates of one cluster: its certificate authority, the
// serving certificate of the API server, the administrator's client certificate, the key that
// signs service account tokens and the key that encrypts Secrets at rest; and it writes
// kubeconfigs.
//
// It knows nothing of Kubernetes objects and opens no sockets.
//
// # Guarantees
//
// A file is either whole or not there: each is written beside its place, synced and renamed. A
// certificate is renewed with the key it had, so a crash between two files never leaves a pair
// that does not match. What cannot be read is reported with its name and a remedy ([IsCorrupt])
// and never overwritten. Keys have mode 0600, their directory 0700.
//
// # Concurrency
//
// A [Bundle] may be used by several goroutines. One process at a time may own its directory; the
// data directory's lock sees to that. Kubeconfigs shared with other programs are changed under the
// lock file that kubectl and kind use.
package pki
