package registry

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
)

// Store is a folder of images:
//
//	blobs/sha256/3f/3fc9b6…                       config, layer or manifest, named by its digest
//	images/docker.io/library/nginx/_tags/latest   the digest of a manifest
//	images/docker.io/library/nginx/_types/3fc9b6… the media type of a manifest of this repository
//	new/…                                         what is being written
//
// No part of a repository's name begins with an underscore, so folders of repositories and of their
// parts never meet.
type Store struct{ root *os.Root }

// Open makes the folder if it is not there, and removes what a crash has left unfinished.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the image store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the image store: %w", err)
	}
	err = root.RemoveAll("new")
	for _, d := range []string{"new", "blobs/sha256", "images"} {
		if err == nil {
			err = root.MkdirAll(d, 0o700)
		}
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("open the image store: %w", err)
	}
	return &Store{root}, nil
}

// Close ends all access to the folder.
func (s *Store) Close() error { return s.root.Close() }

// errMismatch says that content is not what its digest names.
var errMismatch = errors.New("the content does not have this digest")

func blobFile(d digest.Digest) string {
	return path.Join("blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

// blob opens content; fs.ErrNotExist if there is none of that digest.
func (s *Store) blob(d digest.Digest) (*os.File, error) { return s.root.Open(blobFile(d)) }

func (s *Store) has(d digest.Digest) bool {
	_, err := s.root.Stat(blobFile(d))
	return err == nil
}

// draft is content that is being written. It is not there for anybody else before commit.
type draft struct {
	store *Store
	file  *os.File
	name  string
}

func (s *Store) newDraft() (*draft, error) {
	name := path.Join("new", rand.Text())
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return &draft{s, f, name}, err
}

// reopenDraft goes on with the draft of that id; fs.ErrNotExist if there is none.
func (s *Store) reopenDraft(id string) (*draft, error) {
	name := path.Join("new", path.Base("/"+id))
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	return &draft{s, f, name}, err
}

func (d *draft) id() string { return path.Base(d.name) }

// size of what has been written.
func (d *draft) size() int64 {
	info, err := d.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// commit makes the draft the content of that digest; errMismatch if it is not.
func (d *draft) commit(want digest.Digest) error {
	verifier := want.Verifier()
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(verifier, d.file); err != nil {
		return err
	}
	if !verifier.Verified() {
		return errMismatch
	}
	return d.rename(blobFile(want))
}

// rename makes the draft durable and gives it its name.
func (d *draft) rename(to string) error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	if err := d.store.root.MkdirAll(path.Dir(to), 0o700); err != nil {
		return err
	}
	if err := d.store.root.Rename(d.name, to); err != nil {
		return err
	}
	return d.store.sync(path.Dir(to))
}

// sync makes the names in a folder durable.
func (s *Store) sync(dir string) error {
	f, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// close ends the access; the draft stays for reopenDraft.
func (d *draft) close() { _ = d.file.Close() }

// discard removes what has not been committed.
func (d *draft) discard() {
	d.close()
	_ = d.store.root.Remove(d.name)
}

// add writes content that is known to have that digest, unless it does not.
func (s *Store) add(content io.Reader, want digest.Digest) error {
	d, err := s.newDraft()
	if err != nil {
		return err
	}
	defer d.discard()
	verifier := want.Verifier()
	if _, err := io.Copy(io.MultiWriter(d.file, verifier), content); err != nil {
		return err
	}
	if !verifier.Verified() {
		return errMismatch
	}
	return d.rename(blobFile(want))
}

// write replaces a small file.
func (s *Store) write(name, content string) error {
	d, err := s.newDraft()
	if err != nil {
		return err
	}
	defer d.discard()
	if _, err := io.WriteString(d.file, content); err != nil {
		return err
	}
	return d.rename(name)
}

// manifest of an image or of an index of images.
type manifest struct {
	content   []byte
	mediaType string
	digest    digest.Digest
}

// manifest returns what a tag or a digest names in a repository; fs.ErrNotExist if nothing.
func (s *Store) manifest(repository, reference string) (manifest, error) {
	m := manifest{}
	d, err := digest.Parse(reference)
	if err != nil {
		named, err := s.root.ReadFile(path.Join("images", repository, "_tags", reference))
		if err != nil {
			return m, err
		}
		d = digest.Digest(named)
	}
	m.digest = d
	mediaType, err := s.root.ReadFile(path.Join("images", repository, "_types", d.Encoded()))
	if err != nil {
		return m, err
	}
	m.mediaType = string(mediaType)
	m.content, err = s.root.ReadFile(blobFile(d))
	return m, err
}

// putManifest stores a manifest in a repository, and gives it a tag unless that is "".
func (s *Store) putManifest(repository, tag string, m manifest) error {
	if err := s.add(bytes.NewReader(m.content), m.digest); err != nil {
		return err
	}
	if err := s.write(path.Join("images", repository, "_types", m.digest.Encoded()), m.mediaType); err != nil {
		return err
	}
	if tag == "" {
		return nil
	}
	return s.write(path.Join("images", repository, "_tags", tag), m.digest.String())
}

// absent tells whether an error of the store says that there is no such thing.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
