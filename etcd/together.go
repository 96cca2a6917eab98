package etcd

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// Batch is what one write of an object carries along: other keys that are put, deleted or
// compared in the same transaction, so that all of it becomes visible at one revision or none.
type Batch struct {
	// Puts create keys that must not exist.
	Puts []Put
	// Deletes remove keys, whether they exist or not.
	Deletes []string
	// Guards are keys that must still be at a revision.
	Guards []Guard

	// Conflicts is set by a write that was refused although the object itself was as expected:
	// the keys of Puts that exist and of Guards that changed, with what they hold now.
	Conflicts []Conflict
	// Revision is that of the transaction, whether it was applied or refused.
	Revision int64
	// Applied says whether the last transaction was.
	Applied bool
}

// Put is a key to create.
type Put struct {
	Key   string
	Value []byte
}

// Guard is a key and the modification revision it must have (0: must not exist).
type Guard struct {
	Key      string
	Revision int64
}

// Conflict is a key that was not as the batch wanted it. KV is nil when the key is gone.
type Conflict struct {
	Key string
	KV  *mvccpb.KeyValue
}

type batchKey struct{}

// Together returns a context in which the next write of an object takes batch along. The writer
// may change batch between attempts; Conflicts, Revision and Applied are overwritten by each.
//
// Concurrency: one write at a time per batch.
func Together(ctx context.Context, batch *Batch) context.Context {
	return context.WithValue(ctx, batchKey{}, batch)
}

// together is kubernetes.Interface whose two writes honour a batch in the context.
type together struct {
	kubernetes.Interface
	kv clientv3.KV
}

// OptimisticPut writes key if it is at expectedRevision, and the batch with it. When only the
// batch was in the way, Succeeded is false, KV is the unchanged object and batch.Conflicts says why.
func (t together) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions) (resp kubernetes.PutResponse, err error) {
	batch, ok := ctx.Value(batchKey{}).(*Batch)
	if !ok {
		return t.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
	}
	put := clientv3.OpPut(key, string(value), clientv3.WithLease(opts.LeaseID))
	resp.Succeeded, resp.Revision, resp.KV, err = t.commit(ctx, key, expectedRevision, put, batch)
	return resp, err
}

// OptimisticDelete deletes key if it is at expectedRevision, and applies the batch with it.
func (t together) OptimisticDelete(ctx context.Context, key string, expectedRevision int64, opts kubernetes.DeleteOptions) (resp kubernetes.DeleteResponse, err error) {
	batch, ok := ctx.Value(batchKey{}).(*Batch)
	if !ok {
		return t.Interface.OptimisticDelete(ctx, key, expectedRevision, opts)
	}
	resp.Succeeded, resp.Revision, resp.KV, err = t.commit(ctx, key, expectedRevision, clientv3.OpDelete(key), batch)
	return resp, err
}

// commit runs main and the batch in one transaction. The Else branch reads the object first and
// then everything the batch compared, to tell a changed object from a taken address.
func (t together) commit(ctx context.Context, key string, revision int64, main clientv3.Op, batch *Batch) (applied bool, at int64, current *mvccpb.KeyValue, err error) {
	wants := make([]Guard, 0, len(batch.Puts)+len(batch.Guards))
	for _, p := range batch.Puts {
		wants = append(wants, Guard{Key: p.Key})
	}
	wants = append(wants, batch.Guards...)

	compares := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", revision)}
	gets := []clientv3.Op{clientv3.OpGet(key)}
	for _, w := range wants {
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(w.Key), "=", w.Revision))
		gets = append(gets, clientv3.OpGet(w.Key))
	}
	writes := []clientv3.Op{main}
	for _, p := range batch.Puts {
		writes = append(writes, clientv3.OpPut(p.Key, string(p.Value)))
	}
	for _, d := range batch.Deletes {
		writes = append(writes, clientv3.OpDelete(d))
	}

	batch.Conflicts, batch.Applied = nil, false
	resp, err := t.kv.Txn(ctx).If(compares...).Then(writes...).Else(gets...).Commit()
	if err != nil {
		return false, 0, nil, err
	}
	batch.Revision, batch.Applied = resp.Header.Revision, resp.Succeeded
	if resp.Succeeded {
		return true, resp.Header.Revision, nil, nil
	}
	if len(resp.Responses) != len(gets) {
		return false, 0, nil, fmt.Errorf("etcd: transaction on %s answered %d of %d reads", key, len(resp.Responses), len(gets))
	}
	current = only(resp.Responses[0])
	if modified(current) == revision {
		for i, w := range wants {
			if kv := only(resp.Responses[i+1]); modified(kv) != w.Revision {
				batch.Conflicts = append(batch.Conflicts, Conflict{Key: w.Key, KV: kv})
			}
		}
	}
	return false, resp.Header.Revision, current, nil
}

func only(r *pb.ResponseOp) *mvccpb.KeyValue {
	if kvs := r.GetResponseRange().GetKvs(); len(kvs) == 1 {
		return kvs[0]
	}
	return nil
}

func modified(kv *mvccpb.KeyValue) int64 {
	if kv == nil {
		return 0
	}
	return kv.ModRevision
}
