package registry

import (
	"fmt"
	"io"
	"net/http"
)

// serveUpload takes content, in one request that names its digest, or piece by piece:
//
//	POST  /v2/NAME/blobs/uploads/?digest=sha256:…   all of it
//	POST  /v2/NAME/blobs/uploads/                   begin; the answer's Location names the upload
//	PATCH /v2/NAME/blobs/uploads/ID                 a piece
//	PUT   /v2/NAME/blobs/uploads/ID?digest=…        the last piece, or nothing, and the digest
func (s *Store) serveUpload(w http.ResponseWriter, r *http.Request, p place) error {
	if r.Method == http.MethodPost && p.reference == "" {
		return s.beginUpload(w, r, p)
	}
	if r.Method != http.MethodPatch && r.Method != http.MethodPut {
		return notAllowed(r)
	}
	d, err := s.reopenDraft(p.reference)
	if err != nil {
		return refusal{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", fmt.Sprintf("there is no upload %q", p.reference)}
	}
	if r.Method == http.MethodPatch {
		defer d.close()
		if _, err := io.Copy(d.file, r.Body); err != nil {
			return err
		}
		accepted(w, p, d)
		return nil
	}
	defer d.discard()
	want, err := parseDigest(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	if _, err := io.Copy(d.file, r.Body); err != nil {
		return err
	}
	if err := d.commit(want); err != nil {
		return err
	}
	created(w, p, want.String())
	return nil
}

func (s *Store) beginUpload(w http.ResponseWriter, r *http.Request, p place) error {
	name := r.URL.Query().Get("digest")
	if name == "" {
		d, err := s.newDraft()
		if err != nil {
			return err
		}
		defer d.close()
		accepted(w, p, d)
		return nil
	}
	want, err := parseDigest(name)
	if err != nil {
		return err
	}
	if err := s.add(r.Body, want); err != nil {
		return err
	}
	created(w, p, want.String())
	return nil
}

func accepted(w http.ResponseWriter, p place, d *draft) {
	w.Header().Set("Location", "/v2/"+p.name+"/blobs/uploads/"+d.id())
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(d.size()-1, 0)))
	w.WriteHeader(http.StatusAccepted)
}

func created(w http.ResponseWriter, p place, digest string) {
	w.Header().Set("Location", "/v2/"+p.name+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}
