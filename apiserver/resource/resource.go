// Package resource defines what it takes to serve one kind of object: a [Resource] is one row of
// the table in package apiserver, and everything that tells Kubernetes kinds apart is a field of it.
//
// It holds no behaviour of its own beyond that vocabulary, so that the packages which supply
// fields (service, servicecidr, ipaddress, columns, rbac) and the one which reads them
// (apiserver) need not know each other.
package resource

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Resource says how one kind is named, checked, stored and shown. The zero value of every
// optional field means "nothing special".
type Resource struct {
	// Group, Kind and Plural name the resource, for example "networking.k8s.io", "ServiceCIDR"
	// and "servicecidrs". The singular name is the kind in lower case.
	Group, Kind, Plural string
	// Versions served, preferred and stored first. Empty means v1 alone.
	Versions []string
	// Short names and categories, as `kubectl api-resources` shows them.
	Short, Categories []string
	// ClusterScoped is true for objects outside any namespace.
	ClusterScoped bool

	// New and NewList return empty objects of the stored version.
	New, NewList func() runtime.Object

	// Name checks metadata.name (prefix: generateName) and returns one message per fault.
	// Nil means a DNS subdomain.
	Name func(name string, prefix bool) []string
	// NoStatus is true for kinds without a status subresource.
	NoStatus bool
	// Generation is true for kinds whose metadata.generation counts changes of the spec.
	Generation bool
	// CreateOnUpdate lets a PUT to a missing object create it.
	CreateOnUpdate bool
	// Scale, if not nil, serves the scale subresource.
	Scale *Scale
	// TTL in seconds after which etcd drops the object; nil or 0 keeps it.
	TTL func(obj runtime.Object) uint64
	// NoCache serves reads and watches from etcd itself.
	NoCache bool

	// Default fills what a client may omit, on every decode (create, update and read).
	Default func(obj runtime.Object)
	// Begin runs before Prepare and Validate, with old nil on create, may change obj, and its
	// error is what the client sees. It is where addresses are planned and where RBAC refuses
	// escalation. It must have no side effects: it runs again when a write meets a conflict.
	Begin func(ctx context.Context, obj, old runtime.Object, dryRun bool) error
	// Prepare drops or keeps fields by rule, with old nil on create. Status is handled before.
	Prepare func(ctx context.Context, obj, old runtime.Object)
	// Validate reports every fault of obj, with old nil on create. Metadata is checked before.
	Validate func(ctx context.Context, obj, old runtime.Object) field.ErrorList
	// PrepareStatus is Prepare for a write of the status subresource.
	PrepareStatus func(ctx context.Context, obj, old runtime.Object)
	// ValidateStatus is Validate for a write of the status subresource.
	ValidateStatus func(ctx context.Context, obj, old runtime.Object) field.ErrorList
	// Warnings become Warning headers, with old nil on create.
	Warnings func(ctx context.Context, obj, old runtime.Object) []string

	// Columns are what `kubectl get` prints. Nil means NAME and AGE.
	Columns *Columns
	// Fields are the field selectors beside metadata.name and metadata.namespace.
	Fields func(obj runtime.Object) fields.Set
	// Subresources are further endpoints by name, for example "token" or "binding".
	Subresources map[string]rest.Storage
}

// Scale maps a kind to autoscaling/v1 Scale.
type Scale struct {
	// Replicas points at spec.replicas of obj.
	Replicas func(obj runtime.Object) **int32
	// Status returns status.replicas and the serialised pod selector of obj.
	Status func(obj runtime.Object) (replicas int32, selector string)
}

// Columns is the table of a kind: Row returns one cell per definition, in order.
type Columns struct {
	Definitions []metav1.TableColumnDefinition
	Row         func(obj runtime.Object) []any
}
