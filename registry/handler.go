package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// maxManifest is what the specification wants a registry to take at least.
const maxManifest = 4 << 20

// ServeHTTP serves the paths below /v2/. The repository is that of the path, in the registry that
// ?ns= names, as a client says which asks a mirror; without it the first part of the path is the
// registry, or docker.io as everywhere:
//
//	GET /v2/library/nginx/manifests/latest?ns=docker.io
//	GET /v2/docker.io/library/nginx/manifests/latest
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	where, err := route(r)
	if err == nil {
		switch where.what {
		case "":
			w.WriteHeader(http.StatusOK)
		case "manifests":
			err = s.serveManifest(w, r, where)
		case "blobs":
			err = s.serveBlob(w, r, where)
		case "uploads":
			err = s.serveUpload(w, r, where)
		}
	}
	if err != nil {
		fail(w, r, err)
	}
}

// place is what a path names.
type place struct {
	what       string // manifests, blobs, uploads, or "" for /v2/ itself
	repository string // docker.io/library/nginx
	reference  string // tag, digest, or id of an upload
	name       string // the repository as the path has it
}

// route reads /v2/NAME/manifests/REFERENCE, /v2/NAME/blobs/DIGEST and /v2/NAME/blobs/uploads/ID.
func route(r *http.Request) (place, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || rest == "" {
		return place{}, nil
	}
	unknown := refusal{http.StatusNotFound, "UNSUPPORTED", "no such path"}
	parts := strings.Split(rest, "/")
	n := len(parts)
	p := place{reference: parts[n-1]}
	switch {
	case n > 3 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		p.what, parts = "uploads", parts[:n-3]
	case n > 2 && (parts[n-2] == "blobs" || parts[n-2] == "manifests") && p.reference != "":
		p.what, parts = parts[n-2], parts[:n-2]
	default:
		return p, unknown
	}
	p.name = strings.Join(parts, "/")
	full := p.name
	if ns := r.URL.Query().Get("ns"); ns != "" {
		full = ns + "/" + full
	}
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil || !reference.IsNameOnly(named) {
		return p, refusal{http.StatusBadRequest, "NAME_INVALID", fmt.Sprintf("%q is not the name of a repository", full)}
	}
	p.repository = named.Name()
	return p, nil
}

func (s *Store) serveManifest(w http.ResponseWriter, r *http.Request, p place) error {
	_, err := digest.Parse(p.reference)
	byDigest := err == nil
	if !byDigest && !validTag(p.reference) {
		return refusal{http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("%q is neither a tag nor a digest", p.reference)}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		m, err := s.manifest(p.repository, p.reference)
		if absent(err) {
			return refusal{http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("the mirror has no %s of %s", p.reference, p.repository)}
		}
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Content-Length", strconv.Itoa(len(m.content)))
		w.Header().Set("Docker-Content-Digest", m.digest.String())
		if r.Method == http.MethodGet {
			_, _ = w.Write(m.content)
		}
		return nil
	case http.MethodPut:
		return s.takeManifest(w, r, p, byDigest)
	}
	return notAllowed(r)
}

// takeManifest stores a manifest if all that an image needs is there. An index may name images that
// are not: archives often hold one platform of many.
func (s *Store) takeManifest(w http.ResponseWriter, r *http.Request, p place, byDigest bool) error {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		return refusal{http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", err.Error()}
	}
	var parsed ocispec.Manifest
	if err := json.Unmarshal(content, &parsed); err != nil {
		return refusal{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
	}
	needs := parsed.Layers
	if parsed.Config.Digest != "" {
		needs = append(needs, parsed.Config)
	}
	for _, part := range needs {
		if err := part.Digest.Validate(); err != nil {
			return refusal{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
		}
		if !s.has(part.Digest) {
			return refusal{http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("%s is not here", part.Digest)}
		}
	}
	m := manifest{content: content, mediaType: r.Header.Get("Content-Type"), digest: digest.FromBytes(content)}
	if m.mediaType == "" {
		m.mediaType = parsed.MediaType
	}
	tag := p.reference
	if byDigest {
		if tag = ""; p.reference != m.digest.String() {
			return refusal{http.StatusBadRequest, "DIGEST_INVALID", errMismatch.Error()}
		}
	}
	if err := s.putManifest(p.repository, tag, m); err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", m.digest.String())
	w.Header().Set("Location", "/v2/"+p.name+"/manifests/"+m.digest.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// serveBlob sends content, or the range of it that is asked for. All repositories share theirs.
func (s *Store) serveBlob(w http.ResponseWriter, r *http.Request, p place) error {
	d, err := parseDigest(p.reference)
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notAllowed(r)
	}
	f, err := s.blob(d)
	if absent(err) {
		return refusal{http.StatusNotFound, "BLOB_UNKNOWN", fmt.Sprintf("the mirror has no %s", d)}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("ETag", `"`+d.String()+`"`)
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

func parseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil || d.Algorithm() != digest.SHA256 {
		return d, refusal{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is not a sha256 digest", text)}
	}
	return d, nil
}

func validTag(text string) bool { return reference.TagRegexp.FindString(text) == text && text != "" }

// refusal is an answer that says what is wrong with the request.
type refusal struct {
	status  int
	code    string // one of the specification
	message string
}

func (e refusal) Error() string { return e.message }

func notAllowed(r *http.Request) error {
	return refusal{http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method + " is not supported here"}
}

// fail writes an error the way registries do. What is no refusal is ours, and logged.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	var why refusal
	switch {
	case errors.As(err, &why):
	case errors.Is(err, errMismatch):
		why = refusal{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		why = refusal{http.StatusInsufficientStorage, "UNKNOWN", "the disk of the control plane is full"}
	default:
		klog.FromContext(r.Context()).Error(err, "Image store failed", "method", r.Method, "path", r.URL.Path)
		why = refusal{http.StatusInternalServerError, "UNKNOWN", err.Error()}
	}
	body, err := json.Marshal(map[string]any{"errors": []any{map[string]string{"code": why.code, "message": why.message}}})
	if err != nil {
		body = nil // of strings: cannot fail
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(why.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
