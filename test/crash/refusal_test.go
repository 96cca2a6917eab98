package crash

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// refuses starts a server that must end with exit code 1 and one line that has all the words. The
// files of the data directory must be as before, but for the lock and the log that etcd would begin
// next; etcd's database may have been written to where it was good.
func refuses(t *testing.T, s *server, words ...string) {
	t.Helper()
	before := sums(t, s.dir)
	s.start(t)
	if code := s.exitCode(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	line := s.said(t)
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("the error does not name %q: %s", w, line)
		}
	}
	after := sums(t, s.dir)
	if database := "etcd/member/snap/db"; !slices.Contains(words, filepath.Join(s.dir, database)) {
		delete(before, database)
		delete(after, database)
	}
	if !maps.Equal(before, after) {
		t.Errorf("files changed:\n%s", changes(before, after))
	}
	t.Log(line)
}

// sums are the checksums of all files in dir but the lock.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "lock" || strings.HasSuffix(path, ".tmp") {
			return err
		}
		data, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir+"/")] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func changes(before, after map[string]string) string {
	var b strings.Builder
	for name, sum := range after {
		if before[name] != sum {
			fmt.Fprintf(&b, "  %s is new or different\n", name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			fmt.Fprintf(&b, "  %s is gone\n", name)
		}
	}
	return b.String()
}

// used is a data directory with something in it, and the server that made it, dead.
func used(t *testing.T) *server {
	t.Helper()
	s := newServer(t, t.TempDir())
	s.start(t)
	s.awaitReady(t)
	newClient(t, s, 0)
	s.stop(t)
	return s
}

func TestDataDirInUse(t *testing.T) {
	t.Parallel()
	s := newServer(t, t.TempDir())
	s.start(t)
	s.awaitReady(t)
	second := newServer(t, s.dir)
	second.start(t)
	if code := second.exitCode(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, w := range []string{s.dir, fmt.Sprintf("pid %d", s.cmd.Process.Pid), "in use"} {
		if line := second.said(t); !strings.Contains(line, w) {
			t.Errorf("the error does not name %q: %s", w, line)
		}
	}
	newClient(t, s, 0) // the first one does not mind
	s.stop(t)
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	s := used(t)
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, s, s.addr, "in use", "--listen")
	l.Close()
	s.start(t)
	s.awaitReady(t)
}

// TestDamagedFiles: a damaged file is named and left alone, and with the file as it was everything
// is there again.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	s := used(t)
	rubbish := func([]byte) []byte { return bytes.Repeat([]byte("rubbish "), 2000) }
	empty := func([]byte) []byte { return nil }
	half := func(data []byte) []byte { return data[:len(data)/2] }
	flipped := func(data []byte) []byte { // in the middle of what has been written, which is far from all
		out := bytes.Clone(data)
		out[len(bytes.TrimRight(out, "\x00"))/2] ^= 0xff
		return out
	}
	rows := []struct {
		name, file string
		damage     func([]byte) []byte
		words      []string
	}{
		{"etcd database, rubbish", "etcd/member/snap/db", rubbish, []string{"damaged"}},
		{"etcd database, empty", "etcd/member/snap/db", empty, []string{"damaged"}},
		{"etcd log, rubbish", "etcd/member/wal/*.wal", rubbish, []string{"damaged"}},
		{"etcd log, one bit", "etcd/member/wal/*.wal", flipped, []string{"damaged"}},
		{"etcd log, empty", "etcd/member/wal/*.wal", empty, []string{"damaged"}},
		{"certificate of the authority", "pki/ca.crt", rubbish, []string{"backup"}},
		{"key of the authority", "pki/ca.key", half, []string{"backup"}},
		{"certificate of the server", "pki/apiserver.crt", half, nil},
		{"key of the server", "pki/apiserver.key", empty, nil},
		{"key of service accounts", "pki/service-account.key", rubbish, []string{"backup"}},
		{"key of Secrets", "secrets.key", half, []string{"backup"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(s.dir, row.file))
			if err != nil || len(files) != 1 {
				t.Fatalf("%s: %v %v", row.file, files, err)
			}
			good, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, files[0], row.damage(good))
			refuses(t, s, append(row.words, files[0])...)
			overwrite(t, files[0], good)
		})
	}
	s.start(t)
	s.awaitReady(t)
	if err := newAPI(t, s.dir+"/kubeconfig").core.Get().Resource("namespaces").Name("crash-00").Do(t.Context()).Error(); err != nil {
		t.Error("what was stored before: ", err)
	}
	s.stop(t)
}

func overwrite(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
