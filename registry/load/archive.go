package load

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Archive is an open file of images.
type Archive struct {
	Images []Image

	file  *os.File
	files map[string]*io.SectionReader // by clean path
}

// Image is what one or more names stand for.
type Image struct {
	Names  []reference.NamedTagged
	Digest digest.Digest // of the manifest, or of the index of manifests

	contents  []content // config and layers
	manifests []content // parts before the whole; the last is Digest
}

// content with its digest. open may be called again and again.
type content struct {
	mediaType string
	digest    digest.Digest
	size      int64
	open      func() io.Reader
}

// Open reads an archive's table of contents. Layers are read later, when they are pushed; the file
// must not change before Close.
func Open(name string) (*Archive, error) {
	a, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("read image archive %s: %w", name, err)
	}
	return a, nil
}

func open(name string) (_ *Archive, err error) {
	file, err := plain(name)
	if err != nil {
		return nil, err
	}
	a := &Archive{file: file, files: map[string]*io.SectionReader{}}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := a.index(); err != nil {
		return nil, err
	}
	if a.Images, err = a.images(); err != nil {
		return nil, err
	}
	if len(a.Images) == 0 {
		return nil, errors.New("there is no image in it")
	}
	return a, nil
}

// Close frees the file.
func (a *Archive) Close() error { return a.file.Close() }

// images prefers the OCI layout, where an archive is both: digests stay those the image had where it
// was built. Docker's list knows names that some layouts lack.
func (a *Archive) images() ([]Image, error) {
	_, layout := a.files[ocispec.ImageIndexFile]
	_, docker := a.files["manifest.json"]
	switch {
	case layout:
		images, err := a.layoutImages()
		if err == nil || !docker {
			return images, err
		}
		return a.dockerImages()
	case docker:
		return a.dockerImages()
	}
	return nil, errors.New("it has neither a manifest.json, as docker archives have, nor an index.json, as OCI archives have")
}

// plain opens a file, and decompresses it into a file without a name if it is compressed.
func plain(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, 2)
	n, err := f.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err
	}
	if !isGzip(magic[:n]) {
		return f, nil
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	out, err := os.CreateTemp("", "duet-image-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(out.Name())
	if err == nil {
		_, err = io.Copy(out, unzip)
	}
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return out, nil
}

func isGzip(start []byte) bool { return bytes.HasPrefix(start, []byte{0x1f, 0x8b}) }

// index finds where each file of the archive is. Old versions of docker save a layer that two
// images share once, with links to it.
func (a *Archive) index() error {
	links := map[string]string{}
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	reader := tar.NewReader(a.file)
	for {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("it is not a tar archive, or is cut off: %w", err)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := a.file.Seek(0, io.SeekCurrent) // the reader does not read ahead
			if err != nil {
				return err
			}
			a.files[name] = io.NewSectionReader(a.file, at, h.Size)
		case tar.TypeSymlink:
			links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			links[name] = path.Clean(h.Linkname)
		}
	}
	for name, to := range links {
		if f, ok := a.files[to]; ok {
			a.files[name] = f
		}
	}
	return nil
}

// section returns a new reader of a file of the archive.
func (a *Archive) section(name string) (*io.SectionReader, error) {
	f, ok := a.files[path.Clean(name)]
	if !ok {
		return nil, fmt.Errorf("%s is missing", name)
	}
	return io.NewSectionReader(f, 0, f.Size()), nil
}

// maxJSON is more than any index, manifest or config has.
const maxJSON = 8 << 20

// decode reads a small file of JSON.
func (a *Archive) decode(name string, into any) error {
	f, err := a.section(name)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(io.LimitReader(f, maxJSON)).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
