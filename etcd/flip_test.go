package etcd

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// TestEveryBit flips each bit of a log, and takes each of its words for zero: either that is refused
// and the file named, or etcd reads all entries that the database has.
func TestEveryBit(t *testing.T) {
	segments(t, 64<<10)
	dir := t.TempDir()
	m, c := start(t, dir)
	for _, value := range []string{
		"v", strings.Repeat("v", 100),
		string(make([]byte, 600)) + "v", // a sector of zeros: etcd takes other damage of such a record for a torn write
		"v",
	} {
		if _, err := c.Put(t.Context(), "/k", value); err != nil {
			t.Fatal(err)
		}
	}
	m.Close()
	file := logs(dir)[0]
	good := contents(t, file)
	want, err := entriesOf(t, file)
	if err != nil || len(want) < 8 {
		t.Fatal(len(want), err)
	}
	if last, err := lastEntry(dir); err != nil || last != uint64(len(want)) {
		t.Fatalf("the last entry is %d, want %d (%v)", last, len(want), err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := range endOf(t, file, math.MaxInt) {
		for _, change := range changes(good, at) {
			if _, err := f.WriteAt(change, at); err != nil {
				t.Fatal(err)
			}
			if err := checkFiles(dir); err != nil {
				if !strings.Contains(err.Error(), "wal") || !strings.Contains(err.Error(), "damaged") {
					t.Errorf("byte %d: %v", at, err)
				}
				continue
			}
			if got, err := entriesOf(t, file); err != nil || !same(got, want) {
				t.Errorf("byte %d is now %x: etcd would go on with %v (%v)", at, change, got, err)
			}
		}
		if _, err := f.WriteAt(good[at:at+8], at); err != nil {
			t.Fatal(err)
		}
	}
}

// changes are what may be written over log at a byte: the byte with each bit flipped, and a word of zeros.
func changes(log []byte, at int64) (all [][]byte) {
	for bit := range 8 {
		all = append(all, []byte{log[at] ^ 1<<bit})
	}
	if at%8 == 0 {
		all = append(all, make([]byte, 8))
	}
	return all
}

func same(a, b []*raftpb.Entry) bool {
	equal := len(a) == len(b)
	for i := 0; equal && i < len(a); i++ {
		equal = proto.Equal(a[i], b[i])
	}
	return equal
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// segments sets the size of the log's files.
func segments(t *testing.T, size int64) {
	t.Helper()
	before := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = size
	t.Cleanup(func() { wal.SegmentSizeBytes = before })
}

// entriesOf returns the entries of a log of one file that etcd goes on with, having cut off what it
// takes for a torn write.
func entriesOf(t *testing.T, file string) ([]*raftpb.Entry, error) {
	t.Helper()
	w, err := wal.OpenForRead(zap.NewNop(), filepath.Dir(file), &walpb.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, entries, err := w.ReadAll()
	return entries, err
}

// TestDamagedSegment: of a log of several files, those that are not read before etcd reads them are
// refused by it, named all the same, and left alone.
func TestDamagedSegment(t *testing.T) {
	segments(t, 4<<10)
	dir := t.TempDir()
	m, c := start(t, dir)
	for range 40 {
		if _, err := c.Put(t.Context(), "/k", strings.Repeat("v", 200)); err != nil {
			t.Fatal(err)
		}
	}
	m.Close()
	files := logs(dir)
	if len(files) < 3 {
		t.Fatal(files)
	}
	for _, row := range []struct {
		name   string
		damage func(log []byte) []byte
	}{
		{"data", func(log []byte) []byte { log[len(log)/2/8*8+40] ^= 1; return log }},
		{"length too long", func(log []byte) []byte { log[record(log)+4] ^= 1; return log }},
		{"length zero", func(log []byte) []byte { clear(log[record(log) : record(log)+8]); return log }},
		{"beginning zero", func(log []byte) []byte { clear(log[:8]); return log }},
		{"half", func(log []byte) []byte { return log[:len(log)/2] }},
		{"at a record", func(log []byte) []byte { return log[:record(log)] }},
		{"empty", func([]byte) []byte { return nil }},
		{"gone", nil},
	} {
		for i := range files {
			t.Run(fmt.Sprint(row.name, " in ", i), func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(filepath.Dir(filepath.Dir(filepath.Dir(files[0]))))); err != nil {
					t.Fatal(err)
				}
				file := logs(dir)[i]
				named := file
				if row.damage == nil {
					named = dir
					if err := os.Remove(file); err != nil {
						t.Fatal(err)
					}
				} else if err := os.WriteFile(file, row.damage(contents(t, file)), 0o600); err != nil {
					t.Fatal(err)
				}
				var before [][]byte
				for _, f := range logs(dir) {
					before = append(before, contents(t, f))
				}
				m, err := Start(t.Context(), dir)
				if err == nil {
					m.Close()
					t.Fatal("started")
				}
				if !strings.Contains(err.Error(), named) || row.damage != nil && !strings.Contains(err.Error(), "damaged") {
					t.Errorf("it is not named: %v", err)
				}
				for n, f := range logs(dir) {
					if !bytes.Equal(before[n], contents(t, f)) {
						t.Errorf("%s has changed", f)
					}
				}
			})
		}
	}
}

// record returns where a record of a log begins, in the middle.
func record(log []byte) int64 {
	at := int64(0)
	for at < int64(len(log))/2 {
		length := int64(log[at]) | int64(log[at+1])<<8
		at += 8 + (length+7)/8*8
	}
	return at
}
