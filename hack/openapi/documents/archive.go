package documents

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// entry is one file of the archive: its bytes, and the ETag that goes into its comment.
type entry struct {
	data []byte
	etag string
}

// entries lays the set out as package apiserver/openapi expects it.
func (s *Set) entries() (map[string]entry, error) {
	out := map[string]entry{"types.bin": {data: s.Types}}
	add := func(name string, doc Document) string {
		etag := hash(doc.JSON)
		out[name+".json"] = entry{data: doc.JSON, etag: etag}
		out[name+".pb"] = entry{data: doc.Proto, etag: etag}
		return etag
	}
	add("v2", s.V2)

	type location struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	paths := map[string]location{}
	for path, doc := range s.V3 {
		paths[path] = location{"/openapi/v3/" + path + "?hash=" + add("v3/"+path, doc)}
	}
	index, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return nil, err
	}
	out["v3.json"] = entry{data: index, etag: hash(index)}
	return out, nil
}

func hash(data []byte) string { return fmt.Sprintf("%X", sha256.Sum256(data)) }

// Write replaces the archive, unless it says the same already.
func (s *Set) Write(file string) error {
	if s.Verify(file) == nil {
		return nil
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestCompression)
	})
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Comment: entries[name].etag, Method: zip.Deflate})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := f.Write(entries[name].data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, buf.Bytes(), 0o644)
}

// Verify says which documents in the archive differ from the set. It compares contents: another
// release of Go may compress them to other bytes.
func (s *Set) Verify(file string) (err error) {
	want, err := s.entries()
	if err != nil {
		return err
	}
	r, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var stale []string
	for _, f := range r.File {
		data, err := contents(f)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, f.Name, err)
		}
		if w, ok := want[f.Name]; !ok || !bytes.Equal(w.data, data) || w.etag != f.Comment {
			stale = append(stale, f.Name)
		}
		delete(want, f.Name)
	}
	if stale = append(stale, slices.Sorted(maps.Keys(want))...); len(stale) > 0 {
		return errors.New(file + " is not current (run make update): " + strings.Join(stale, ", "))
	}
	return nil
}

func contents(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
