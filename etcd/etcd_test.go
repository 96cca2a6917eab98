package etcd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

func start(t *testing.T, dir string) (*Member, *kubernetes.Client) {
	t.Helper()
	begin := time.Now()
	m, err := Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(begin))
	return m, m.Client()
}

func TestRestartKeepsWrites(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		m, c := start(t, dir)
		resp, err := c.Kubernetes.Get(t.Context(), "/k", kubernetes.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if (resp.KV != nil) != (round > 0) {
			t.Errorf("round %d: key present: %v", round, resp.KV != nil)
		}
		if _, err := c.Put(t.Context(), "/k", "v"); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
}

// A log of more than 100 entries makes etcd drop entries from memory right after a restart, which
// the forced election must not meet.
func TestRestartWithALongLog(t *testing.T) {
	dir := t.TempDir()
	for range 12 {
		m, c := start(t, dir)
		for range 40 {
			if _, err := c.Put(t.Context(), "/k", "v"); err != nil {
				t.Fatal(err)
			}
		}
		m.Close()
	}
}

// Etcd refuses requests while it is 5,000 entries behind its log, and its own first one it then sends
// again and again without a pause, with a warning each time.
func TestRestartFarFromASnapshot(t *testing.T) {
	dir := t.TempDir()
	m, c := start(t, dir)
	write(t, c, 8_000)
	m.Close()
	said := stderr(t, func() {
		for range 3 {
			m, _ := start(t, dir)
			m.Close()
		}
	})
	if n := strings.Count(said, "too many requests"); n > 3 {
		t.Errorf("it is said %d times that requests were refused, in 3 starts", n)
	}
}

func TestMessagesThatRepeat(t *testing.T) {
	said := stderr(t, func() {
		log := logger(newFailure())
		for range 3 {
			log.Warn("failed to publish local member to cluster through raft")
			log.With(zap.Int("n", 1)).Warn("failed to publish local member to cluster through raft")
			log.Warn("slow fdatasync")
		}
	})
	if strings.Count(said, "publish") != 1 || strings.Count(said, "fdatasync") != 3 {
		t.Error(said)
	}
}

// stderr returns what do writes to standard error, if it opens it itself.
func stderr(t *testing.T, do func()) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = before }()
	do()
	return string(contents(t, file.Name()))
}

// write writes n objects of the size of a Service, 64 at a time.
func write(t testing.TB, c *kubernetes.Client, n int) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	object := strings.Repeat("x", 2000)
	for i := range n {
		group.Go(func() error {
			_, err := c.Put(t.Context(), fmt.Sprint("/registry/", i%1000), object)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	m, c := start(t, dir)
	if _, err := c.Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	m.Close()
	db := filepath.Join(dir, "member", "snap", "db")
	good, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	wals, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(wals) == 0 {
		t.Fatal(wals, err)
	}
	wal, err := os.ReadFile(wals[0])
	if err != nil {
		t.Fatal(err)
	}
	// The damaged log comes last: etcd panics with the database open, and this process keeps it so.
	for _, c := range []struct {
		name, file string
		content    []byte
	}{
		{"database without its meta pages", db, append(make([]byte, 8192), good[8192:]...)},
		{"empty database", db, nil},
		{"database cut short", db, good[:4*4096]},
		{"log full of rubbish", wals[0], []byte(strings.Repeat("rubbish", 99))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(c.file, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := Start(t.Context(), dir)
			if err == nil {
				m.Close()
				t.Fatal("started on damaged files")
			}
			if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("error does not say what and where: %v", err)
			}
		})
		for file, content := range map[string][]byte{db: good, wals[0]: wal} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDamagedLength: a damaged length looks like a torn write, and nothing may be cut off for it but
// the last record, of which nobody was told.
func TestDamagedLength(t *testing.T) {
	dir := t.TempDir()
	m, c := start(t, dir)
	for range 10 {
		if _, err := c.Put(t.Context(), "/k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	m.Close()
	file := logs(dir)[0]
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	good := make([]byte, endOf(t, file, math.MaxInt))
	if _, err := f.ReadAt(good, 0); err != nil {
		t.Fatal(err)
	}
	records := 0
	for at := endOf(t, file, 3); ; records++ {
		length := int64(binary.LittleEndian.Uint64(good[at:]))
		next := at + 8 + length&(1<<56-1)
		if length < 0 {
			next += length >> 56 & 7
		}
		if next >= int64(len(good)) {
			break
		}
		for i := range int64(7) { // the eighth byte is about padding
			bad := bytes.Clone(good)
			bad[at+i] ^= 0xff
			if _, err := f.WriteAt(bad, 0); err != nil {
				t.Fatal(err)
			}
			if err := checkFiles(dir); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), filepath.Dir(file)) {
				t.Errorf("record %d, byte %d: %v", records, i, err)
			}
			after := make([]byte, len(bad))
			if _, err := f.ReadAt(after, 0); err != nil || !bytes.Equal(after, bad) {
				t.Fatalf("record %d, byte %d: the file has changed (%v)", records, i, err)
			}
		}
		at = next
	}
	if records < 10 {
		t.Errorf("only %d records", records)
	}
	if _, err := f.WriteAt(good, 0); err != nil {
		t.Fatal(err)
	}
	m, _ = start(t, dir)
	m.Close()
}

// endOf returns where a log's first records end, of which it has that many or fewer.
func endOf(t *testing.T, file string, records int) int64 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decoder, record := wal.NewDecoder(fileutil.NewFileReader(f)), &walpb.Record{}
	for n := 0; n < records && decoder.Decode(record) == nil; n++ {
		if record.GetType() == wal.CrcType {
			decoder.UpdateCRC(record.GetCrc())
		}
	}
	return decoder.LastOffset()
}

// TestCutShort: whatever a first start left that was killed, the next one starts.
func TestCutShort(t *testing.T) {
	dir := t.TempDir()
	m, _ := start(t, dir)
	m.Close()
	database := filepath.Join(dir, "member", "snap", "db")
	wals, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(wals) != 1 {
		t.Fatal(wals, err)
	}
	log, err := os.ReadFile(wals[0])
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	header := endOf(t, wals[0], 3) // checksum, metadata, the snapshot of nothing: there before the file gets its name
	for _, row := range []struct {
		name     string
		log      []byte // nil: no file
		database []byte
	}{
		{"database made", nil, []byte{}},
		{"database with a page", nil, good[:4096]},
		{"database with its two meta pages", nil, good[:2*4096]},
		{"database but for its fourth page", nil, good[:3*4096]},
		{"no log", nil, good},
		{"log without entries", append(log[:header:header], make([]byte, 1<<20)...), good},
		{"log without entries, no database", append(log[:header:header], make([]byte, 1<<20)...), nil},
		{"first entry torn", append(log[:header+20:header+20], make([]byte, 1<<20)...), good},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range map[string][]byte{"snap/db": row.database, "wal/" + filepath.Base(wals[0]): row.log} {
				path := filepath.Join(dir, "member", file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if content == nil {
					continue
				}
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			m, err := Start(ctx, dir)
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
		})
	}
}

func TestTogether(t *testing.T) {
	m, c := start(t, t.TempDir())
	defer m.Close()
	put := func(key string, revision int64, b *Batch) kubernetes.PutResponse {
		t.Helper()
		resp, err := c.Kubernetes.OptimisticPut(Together(t.Context(), b), key, []byte("x"), revision, kubernetes.PutOptions{GetOnFailure: true})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	exists := func(key string) bool {
		t.Helper()
		resp, err := c.Kubernetes.Get(context.Background(), key, kubernetes.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return resp.KV != nil
	}

	first := put("/svc/a", 0, &Batch{Puts: []Put{{"/ip/1", []byte("a")}, {"/ip/2", []byte("a")}}})
	if !first.Succeeded || !exists("/ip/1") || !exists("/ip/2") {
		t.Fatalf("first put: %+v", first)
	}

	taken := &Batch{Puts: []Put{{"/ip/3", []byte("b")}, {"/ip/2", []byte("b")}}}
	if resp := put("/svc/b", 0, taken); resp.Succeeded || resp.KV != nil || exists("/ip/3") || exists("/svc/b") {
		t.Errorf("put with a taken address: %+v", resp)
	}
	if len(taken.Conflicts) != 1 || taken.Conflicts[0].Key != "/ip/2" || string(taken.Conflicts[0].KV.Value) != "a" {
		t.Errorf("conflicts: %+v", taken.Conflicts)
	}

	name := &Batch{Puts: []Put{{"/ip/2", []byte("a")}}}
	if resp := put("/svc/a", 0, name); resp.Succeeded || len(name.Conflicts) != 0 {
		t.Errorf("a taken name is not an address conflict: %+v %+v", resp, name.Conflicts)
	}

	guard := &Batch{Guards: []Guard{{"/ip/1", first.Revision + 1}}}
	if resp := put("/svc/a", first.Revision, guard); resp.Succeeded || len(guard.Conflicts) != 1 || resp.KV == nil {
		t.Errorf("guard: %+v %+v", resp, guard)
	}

	swap := &Batch{Puts: []Put{{"/ip/4", []byte("a")}}, Deletes: []string{"/ip/1"}, Guards: []Guard{{"/ip/2", first.Revision}}}
	second := put("/svc/a", first.Revision, swap)
	if !second.Succeeded || exists("/ip/1") || !exists("/ip/4") || !swap.Applied {
		t.Errorf("swap: %+v", second)
	}

	gone := &Batch{Deletes: []string{"/ip/2", "/ip/4", "/ip/absent"}}
	resp, err := c.Kubernetes.OptimisticDelete(Together(t.Context(), gone), "/svc/a", second.Revision, kubernetes.DeleteOptions{GetOnFailure: true})
	if err != nil || !resp.Succeeded || exists("/ip/2") || exists("/ip/4") || exists("/svc/a") {
		t.Errorf("delete: %+v %v", resp, err)
	}
}
