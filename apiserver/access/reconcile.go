package access

import (
	"context"
	"fmt"
	"iter"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/auth/rbac/reconciliation"

	"github.com/duetk8s/duet/apiserver/access/aggregation"
)

// Object is a pointer to one of the four kinds.
type Object interface {
	runtime.Object
	metav1.Object
}

// objects yields every object, roles before the bindings that need them.
func (p *Policy) objects() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		_ = each(p.ClusterRoles, yield) && each(p.Roles, yield) &&
			each(p.ClusterRoleBindings, yield) && each(p.RoleBindings, yield)
	}
}

func each[T Object](list []T, yield func(Object) bool) bool {
	for _, obj := range list {
		if !yield(obj) {
			return false
		}
	}
	return true
}

// add puts obj into the list of its kind.
func (p *Policy) add(obj Object) {
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		p.ClusterRoles = append(p.ClusterRoles, o)
	case *rbacv1.Role:
		p.Roles = append(p.Roles, o)
	case *rbacv1.ClusterRoleBinding:
		p.ClusterRoleBindings = append(p.ClusterRoleBindings, o)
	case *rbacv1.RoleBinding:
		p.RoleBindings = append(p.RoleBindings, o)
	}
}

// Operation says how a [Change] is made.
type Operation string

// The operations. Recreate deletes the old object first, because a role reference never changes.
const (
	Create   Operation = "create"
	Update   Operation = "update"
	Recreate Operation = "recreate"
)

// Change is one write that Plan asks for. Old is what there is now, nil for Create; New carries
// Old's resourceVersion and UID when it is an update.
type Change struct {
	Operation Operation
	Old, New  Object
}

// Plan says what to write so that have covers want, as `kubectl auth reconcile` understands it:
// missing rules, subjects, labels and annotations are added and nothing is taken away; a binding
// to another role is made anew; an object annotated autoupdate=false is left alone. Aggregated
// roles that exist keep the rules they gathered. Roles come before bindings. Have is not changed.
func Plan(have, want *Policy) ([]Change, error) {
	existing := index(have)
	var changes []Change
	for obj := range want.objects() {
		old := existing[kindKey{kindOf(obj), keyOf(obj)}]
		change, err := planOne(old, obj)
		if err != nil {
			return nil, fmt.Errorf("plan %s %q: %w", kindOf(obj), obj.GetName(), err)
		}
		if change != nil {
			changes = append(changes, *change)
		}
	}
	return changes, nil
}

type kindKey struct {
	kind string
	objectKey
}

func index(p *Policy) map[kindKey]Object {
	m := map[kindKey]Object{}
	for obj := range p.objects() {
		m[kindKey{kindOf(obj), keyOf(obj)}] = obj
	}
	return m
}

func kindOf(obj Object) string {
	switch obj.(type) {
	case *rbacv1.ClusterRole:
		return "ClusterRole"
	case *rbacv1.Role:
		return "Role"
	case *rbacv1.ClusterRoleBinding:
		return "ClusterRoleBinding"
	case *rbacv1.RoleBinding:
		return "RoleBinding"
	}
	return ""
}

// planOne compares by the library that kubectl uses, run dry against the one object.
func planOne(old, want Object) (*Change, error) {
	if old == nil {
		return &Change{Operation: Create, New: want}, nil
	}
	if untouched(old, want) {
		return nil, nil
	}
	if role, ok := want.(*rbacv1.ClusterRole); ok && role.AggregationRule != nil {
		want = role.DeepCopy()
		want.(*rbacv1.ClusterRole).Rules = nil
	}
	if owner := asRuleOwner(want); owner != nil {
		options := reconciliation.ReconcileRoleOptions{Role: owner, Client: dryRoles{old}}
		result, err := options.Run()
		if err != nil || result.Protected || result.Operation == reconciliation.ReconcileNone {
			return nil, err
		}
		return &Change{Operation: Update, Old: old, New: result.Role.GetObject().(Object)}, nil
	}
	options := reconciliation.ReconcileRoleBindingOptions{RoleBinding: asBinding(want), Client: dryBindings{old}}
	result, err := options.Run()
	if err != nil || result.Protected || result.Operation == reconciliation.ReconcileNone {
		return nil, err
	}
	change := &Change{Operation: Update, Old: old, New: result.RoleBinding.GetObject().(Object)}
	if result.Operation == reconciliation.ReconcileRecreate {
		change.Operation = Recreate
	}
	return change, nil
}

// untouched spares the usual case the long comparison: 6 ms of every start.
func untouched(old, want Object) bool {
	if !holds(old.GetLabels(), want.GetLabels()) || !holds(old.GetAnnotations(), want.GetAnnotations()) {
		return false
	}
	switch w := want.(type) {
	case *rbacv1.ClusterRole:
		o := old.(*rbacv1.ClusterRole)
		return w.AggregationRule == nil && o.AggregationRule == nil && !aggregation.Differ(w.Rules, o.Rules)
	case *rbacv1.Role:
		return !aggregation.Differ(w.Rules, old.(*rbacv1.Role).Rules)
	case *rbacv1.ClusterRoleBinding:
		o := old.(*rbacv1.ClusterRoleBinding)
		return w.RoleRef == o.RoleRef && slices.Equal(w.Subjects, o.Subjects)
	case *rbacv1.RoleBinding:
		o := old.(*rbacv1.RoleBinding)
		return w.RoleRef == o.RoleRef && slices.Equal(w.Subjects, o.Subjects)
	}
	return false
}

func holds(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

func asRuleOwner(obj Object) reconciliation.RuleOwner {
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		return reconciliation.ClusterRoleRuleOwner{ClusterRole: o}
	case *rbacv1.Role:
		return reconciliation.RoleRuleOwner{Role: o}
	}
	return nil
}

func asBinding(obj Object) reconciliation.RoleBinding {
	switch o := obj.(type) {
	case *rbacv1.ClusterRoleBinding:
		return reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: o}
	case *rbacv1.RoleBinding:
		return reconciliation.RoleBindingAdapter{RoleBinding: o}
	}
	return nil
}

// dryRoles and dryBindings let the library see the existing object. They never write, because
// the library is not told to confirm.
type dryRoles struct{ old Object }

func (d dryRoles) Get(_, _ string) (reconciliation.RuleOwner, error) {
	return asRuleOwner(d.old), nil
}

func (dryRoles) Create(reconciliation.RuleOwner) (reconciliation.RuleOwner, error) {
	return nil, errDry
}

func (dryRoles) Update(reconciliation.RuleOwner) (reconciliation.RuleOwner, error) {
	return nil, errDry
}

type dryBindings struct{ old Object }

func (d dryBindings) Get(_, _ string) (reconciliation.RoleBinding, error) {
	return asBinding(d.old), nil
}

func (dryBindings) Delete(_, _ string, _ types.UID) error { return errDry }

func (dryBindings) Create(reconciliation.RoleBinding) (reconciliation.RoleBinding, error) {
	return nil, errDry
}

func (dryBindings) Update(reconciliation.RoleBinding) (reconciliation.RoleBinding, error) {
	return nil, errDry
}

var errDry = apierrors.NewInternalError(fmt.Errorf("a plan does not write"))

// Store is where the policy lives, as [Reconcile] needs it. The errors of writes are API statuses;
// AlreadyExists, Conflict and NotFound mean that somebody else wrote meanwhile.
type Store interface {
	// List returns all roles and bindings there are, one list for each kind.
	List(ctx context.Context) (*Policy, error)
	// Write makes all changes, in one go or many, in any order, and returns the first error; on a
	// Recreate the object to delete is Old, with its UID as precondition. Callers pass changes
	// whose order does not matter.
	Write(ctx context.Context, changes []Change) error
}
