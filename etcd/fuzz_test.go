package etcd

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// FuzzReadLog: whatever is in a file of the log, reading it ends with an answer.
func FuzzReadLog(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "member", "wal")
	w, err := wal.Create(zap.NewNop(), dir, []byte("metadata"))
	if err != nil {
		f.Fatal(err)
	}
	for i := range uint64(3) {
		if err := w.Save(&raftpb.HardState{}, []*raftpb.Entry{{Index: new(i + 1), Data: []byte("entry")}}); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "0000000000000000-0000000000000000.wal"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:512])
	file := filepath.Join(f.TempDir(), "0000000000000000-0000000000000000.wal")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if last, err := readLog(file); err != nil && last != 0 {
			t.Errorf("entry %d, and %v", last, err)
		}
	})
}
