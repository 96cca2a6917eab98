package registry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ask sends a request and returns status, body and header.
func ask(t *testing.T, s http.Handler, method, path, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// put stores an image of one layer and returns its manifest.
func put(t *testing.T, s http.Handler, name, tag, layer string) string {
	t.Helper()
	d := func(content string) string { return digest.FromString(content).String() }
	for _, content := range []string{layer, "{}"} {
		if code, said, _ := ask(t, s, "POST", "/v2/"+name+"/blobs/uploads/?digest="+d(content), content); code != http.StatusCreated {
			t.Fatal(code, said)
		}
	}
	m := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":2},"layers":[{"digest":%q,"size":%d}]}`, d("{}"), d(layer), len(layer))
	if code, said, _ := ask(t, s, "PUT", "/v2/"+name+"/manifests/"+tag, m, "Content-Type", ociManifest); code != http.StatusCreated {
		t.Fatal(code, said)
	}
	return m
}

// TestNames: one image, by every way to ask for it; and others that are not it.
func TestNames(t *testing.T) {
	s := open(t, t.TempDir())
	m := put(t, s, "docker.io/library/nginx", "latest", "layer")
	put(t, s, "registry.example:5000/team/app", "v1", "other")
	byDigest := "@" + digest.FromString(m).String()
	rows := []struct {
		name, image, ns string
		want            int
	}{
		{"as containerd asks", "library/nginx:latest", "docker.io", 200},
		{"by digest", "library/nginx" + byDigest, "docker.io", 200},
		{"its old host name", "library/nginx:latest", "index.docker.io", 200},
		{"in full", "docker.io/library/nginx:latest", "", 200},
		{"short", "nginx:latest", "", 200},
		{"host with a port", "team/app:v1", "registry.example:5000", 200},
		{"no such tag", "library/nginx:1", "docker.io", 404},
		{"no such image", "library/apache:latest", "docker.io", 404},
		{"of another registry", "library/nginx:latest", "quay.io", 404},
		{"digest in another repository", "library/other" + byDigest, "docker.io", 404},
		{"no such digest", "library/nginx@" + digest.FromString("x").String(), "docker.io", 404},
		{"upper case", "Library/nginx:latest", "docker.io", 400},
		{"out of the folder", "..%2f..%2fetc:latest", "docker.io", 400},
		{"host out of the folder", "library/nginx:latest", "..", 400},
		{"tag out of the folder", "library/nginx:..", "docker.io", 400},
		{"no digest", "library/nginx@sha256:12", "docker.io", 400},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			at := strings.LastIndexAny(row.image, "@")
			if at < 0 {
				at = strings.LastIndex(row.image, ":")
			}
			path := "/v2/" + row.image[:at] + "/manifests/" + row.image[at+1:]
			if row.ns != "" {
				path += "?ns=" + row.ns
			}
			for _, method := range []string{"HEAD", "GET"} {
				code, body, header := ask(t, s, method, path, "")
				if code != row.want || code == 200 && (header.Get("Docker-Content-Digest") == "" || header.Get("Content-Type") != ociManifest) {
					t.Errorf("%s %s: %d %s", method, path, code, body)
				}
				if (method == "HEAD") != (body == "") {
					t.Errorf("%s: body %q", method, body)
				}
			}
		})
	}
}

// TestRefuses: what is wrong, and that nothing of it stays.
func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	there, absent := digest.FromString("a").String(), digest.FromString("b").String()
	rows := []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"content that is something else", "POST", "/v2/x/blobs/uploads/?digest=" + there, "z", 400, "DIGEST_INVALID"},
		{"another kind of digest", "POST", "/v2/x/blobs/uploads/?digest=md5:00", "z", 400, "DIGEST_INVALID"},
		{"no such upload", "PATCH", "/v2/x/blobs/uploads/1", "z", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"upload out of the folder", "PATCH", "/v2/x/blobs/uploads/..", "z", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"no such blob", "GET", "/v2/x/blobs/" + absent, "", 404, "BLOB_UNKNOWN"},
		{"image without its layer", "PUT", "/v2/x/manifests/v1", `{"layers":[{"digest":"` + absent + `"}]}`, 404, "MANIFEST_BLOB_UNKNOWN"},
		{"no manifest", "PUT", "/v2/x/manifests/v1", `<html>`, 400, "MANIFEST_INVALID"},
		{"layer out of the folder", "PUT", "/v2/x/manifests/v1", `{"layers":[{"digest":"sha256:../x"}]}`, 400, "MANIFEST_INVALID"},
		{"manifest by another's digest", "PUT", "/v2/x/manifests/" + there, `{}`, 400, "DIGEST_INVALID"},
		{"large manifest", "PUT", "/v2/x/manifests/v1", strings.Repeat(" ", maxManifest+1), 413, "MANIFEST_INVALID"},
		{"deleting", "DELETE", "/v2/x/manifests/v1", "", 405, "UNSUPPORTED"},
		{"no such path", "GET", "/v2/_catalog", "", 404, "UNSUPPORTED"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			code, body, _ := ask(t, s, row.method, row.path, row.body)
			if code != row.code || !strings.Contains(body, `"code":"`+row.want+`"`) {
				t.Errorf("got %d %s", code, body)
			}
		})
	}
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, _ error) error {
		if !e.IsDir() {
			t.Error("left behind:", path)
		}
		return nil
	})
}

// TestPieces: content in pieces, a range of it, and what a restart finds.
func TestPieces(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, _, header := ask(t, s, "POST", "/v2/a/b/blobs/uploads/", "")
	at := header.Get("Location")
	for i, piece := range []string{"Hello, ", "registry"} {
		code, said, header := ask(t, s, "PATCH", at, piece)
		if want := []string{"0-6", "0-14"}[i]; code != http.StatusAccepted || header.Get("Range") != want {
			t.Fatal(code, said, header)
		}
	}
	d := digest.FromString("Hello, registry!").String()
	if code, said, _ := ask(t, s, "PUT", at+"?digest="+d, "!"); code != http.StatusCreated {
		t.Fatal(code, said)
	}
	_, _, _ = ask(t, s, "POST", "/v2/a/b/blobs/uploads/", "") // and its client dies
	m := put(t, s, "a/b", "v1", "layer")

	s = open(t, dir)
	if _, body, _ := ask(t, s, "GET", "/v2/other/blobs/"+d, "", "Range", "bytes=7-14"); body != "registry" {
		t.Errorf("range is %q", body)
	}
	if _, body, _ := ask(t, s, "GET", "/v2/a/b/manifests/v1", ""); body != m {
		t.Errorf("manifest is %q", body)
	}
	if drafts, err := os.ReadDir(filepath.Join(dir, "new")); err != nil || len(drafts) != 0 {
		t.Error(drafts, err)
	}
	next := put(t, s, "a/b", "v1", "next") // a tag moves; the old manifest stays
	if _, body, _ := ask(t, s, "GET", "/v2/a/b/manifests/v1", ""); body != next {
		t.Errorf("tag names %q", body)
	}
	if code, _, _ := ask(t, s, "GET", "/v2/a/b/manifests/"+digest.FromString(m).String(), ""); code != http.StatusOK {
		t.Error("the image that had the tag before is gone")
	}
}

// TestCutOff: a client that dies half-way leaves no content.
func TestCutOff(t *testing.T) {
	s := open(t, t.TempDir())
	d := digest.FromString("whole").String()
	r := httptest.NewRequest("POST", "/v2/a/blobs/uploads/?digest="+d, io.MultiReader(strings.NewReader("who"), failing{}))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if code, _, _ := ask(t, s, "HEAD", "/v2/a/blobs/"+d, ""); w.Code < 400 || code != http.StatusNotFound {
		t.Error(w.Code, code)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
