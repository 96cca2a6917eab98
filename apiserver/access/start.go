package access

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// attempts is how often Reconcile starts over when another server writes the same objects.
const attempts = 5

// Reconcile makes store cover want and returns everything store then holds, ready for
// [Index.Seed]. A store that covers it already is read once and not written. Several servers may
// do so at once. Its writes carry the identity system:apiserver of system:masters.
func Reconcile(ctx context.Context, store Store, want *Policy) (*Policy, error) {
	ctx = genericapirequest.WithUser(ctx, &user.DefaultInfo{
		Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup},
	})
	var err error
	for range attempts {
		var have *Policy
		if have, err = store.List(ctx); err != nil {
			return nil, fmt.Errorf("list roles and bindings: %w", err)
		}
		var changes []Change
		if changes, err = Plan(have, want); err != nil {
			return nil, err
		}
		if len(changes) == 0 {
			return have, nil
		}
		if err = store.Write(ctx, changes); err == nil {
			return merged(have, changes), nil
		}
		if !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			break
		}
	}
	return nil, fmt.Errorf("write bootstrap roles and bindings: %w", err)
}

// merged is have after the changes.
func merged(have *Policy, changes []Change) *Policy {
	all := index(have)
	for _, change := range changes {
		all[kindKey{kindOf(change.New), keyOf(change.New)}] = change.New
	}
	result := &Policy{}
	for _, obj := range all {
		result.add(obj)
	}
	return result
}

// WriteEach carries out changes one object at a time, at most workers at once, for a [Store]
// without a larger step. It stops at the first error, which names the object.
func WriteEach(ctx context.Context, changes []Change, workers int, write func(context.Context, Change) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, change := range changes {
		group.Go(func() error {
			if err := write(ctx, change); err != nil {
				return fmt.Errorf("%s %s %q: %w", change.Operation, kindOf(change.New), change.New.GetName(), err)
			}
			return nil
		})
	}
	return group.Wait()
}
