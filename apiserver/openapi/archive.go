package openapi

import (
	"archive/zip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"
)

// archived is written by hack/openapi:
//
//	types.bin                  see package typeset
//	v2.json v2.pb              the one OpenAPI v2 document
//	v3.json                    which OpenAPI v3 documents there are, with their hashes
//	v3/apis/apps/v1.json .pb   one of them
//
// The comment of each entry is its ETag. `unzip -p documents.zip v3/api/v1.json` shows one.
//
//go:embed documents.zip
var archived string

// entries are the files of the archive by name; reading its directory takes some microseconds.
var entries = sync.OnceValues(func() (map[string]*zip.File, error) {
	r, err := zip.NewReader(strings.NewReader(archived), int64(len(archived)))
	if err != nil {
		return nil, fmt.Errorf("openapi: embedded documents: %w", err)
	}
	files := make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		files[f.Name] = f
	}
	return files, nil
})

// unpack reads one entry whole.
func unpack(name string) ([]byte, error) {
	files, err := entries()
	if err != nil {
		return nil, err
	}
	f := files[name]
	if f == nil {
		return nil, fmt.Errorf("openapi: embedded documents: no %s", name)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("openapi: embedded documents: %s: %w", name, err)
	}
	defer r.Close()
	data := make([]byte, f.UncompressedSize64)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("openapi: embedded documents: %s: %w", name, err)
	}
	return data, nil
}
