// Package access decides who may do what in the API: role-based access control as Kubernetes
// defines it (rbac.authorization.k8s.io/v1).
//
// It holds the authorizer and its index of roles and bindings ([Index]), the policy every cluster
// starts with ([Bootstrap], [Reconcile]), the rule that nobody grants more than they hold
// ([Guard]), the defaults and validation of the four kinds, and the access reviews behind
// `kubectl auth` ([Reviews]). It does not authenticate, knows no node authorizer, and stores
// nothing itself. Packages apiserver and assemble may import it.
//
// # Concurrency
//
// An Index may be used from many goroutines; everything else is immutable once made.
//
// # Guarantees
//
// A decision costs in proportion to the bindings of the asking user and its groups, however many
// others there are. An Index that has not been fed refuses everything but system:masters (see
// [WithMasters]).
package access
