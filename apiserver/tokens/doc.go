// Package tokens is about bearer tokens: it issues those of service accounts and knows whose a token
// is, a service account's or a bootstrap token.
//
// It neither knows client certificates nor the tokens of this process's own parts; package apiserver
// puts them all together.
//
// # Guarantees
//
// A token is good only while what it depends on exists with the UID it had: the service account, and
// the Pod, Secret or Node it is bound to. Concurrency: everything may be used by several goroutines.
package tokens
