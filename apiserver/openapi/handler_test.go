package openapi

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"
)

const (
	protoV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protoV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

func newMux() *mux.PathRecorderMux {
	m := mux.NewPathRecorderMux("test")
	Register(m)
	return m
}

func etag(t *testing.T, name string) string {
	t.Helper()
	files, err := entries()
	if err != nil {
		t.Fatal(err)
	}
	return files[name].Comment
}

func TestHandlers(t *testing.T) {
	apps, index := etag(t, "v3/apis/apps/v1.json"), etag(t, "v3.json")
	tests := map[string]struct {
		method, path string
		header       map[string]string
		status       int
		want         map[string]string // response headers; "" means absent
		entry        string            // whose contents the body is
	}{
		"v2 without Accept": {path: "/openapi/v2", status: 200, entry: "v2.json", want: map[string]string{"Content-Type": "application/json", "Vary": "Accept"}},
		"v2 protobuf": {
			path: "/openapi/v2", header: map[string]string{"Accept": protoV2}, status: 200, entry: "v2.pb",
			want: map[string]string{"Content-Type": protoV2, "Etag": `"` + etag(t, "v2.json") + `"`},
		},
		"v2 protobuf as clients spell it": {
			path: "/openapi/v2", header: map[string]string{"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}, status: 200, entry: "v2.pb",
			want: map[string]string{"Content-Type": protoV2},
		},
		"the better liked":  {path: "/openapi/v2", header: map[string]string{"Accept": "application/json;q=0.5, " + protoV2}, status: 200, entry: "v2.pb"},
		"v2 not acceptable": {path: "/openapi/v2", header: map[string]string{"Accept": "text/html"}, status: 406},
		"v2 in a browser":   {path: "/openapi/v2", header: map[string]string{"Accept": "text/html, */*;q=0.8"}, status: 200, entry: "v2.json"},
		"compressed":        {path: "/openapi/v2", header: map[string]string{"Accept-Encoding": "br, gzip"}, status: 200, entry: "v2.json", want: map[string]string{"Content-Encoding": "gzip"}},
		"gzip refused":      {path: "/openapi/v2", header: map[string]string{"Accept-Encoding": "gzip;q=0"}, status: 200, entry: "v2.json", want: map[string]string{"Content-Encoding": ""}},
		"head":              {method: "HEAD", path: "/openapi/v2", status: 200, want: map[string]string{"Content-Type": "application/json"}},
		"post":              {method: "POST", path: "/openapi/v2", status: 405},
		"index":             {path: "/openapi/v3", status: 200, entry: "v3.json", want: map[string]string{"Content-Type": "application/json", "Etag": `"` + index + `"`}},
		"index unchanged":   {path: "/openapi/v3", header: map[string]string{"If-None-Match": `"` + index + `"`}, status: 304},
		"document": {
			path: "/openapi/v3/apis/apps/v1", status: 200, entry: "v3/apis/apps/v1.json",
			want: map[string]string{"Cache-Control": "", "Etag": `"` + apps + `"`},
		},
		"document with its hash": {
			path: "/openapi/v3/apis/apps/v1?hash=" + apps, header: map[string]string{"Accept": protoV3}, status: 200, entry: "v3/apis/apps/v1.pb",
			want: map[string]string{"Cache-Control": "public, immutable", "Content-Type": protoV3},
		},
		"document with an old hash": {
			path: "/openapi/v3/apis/apps/v1?hash=OLD", status: 301,
			want: map[string]string{"Location": "/openapi/v3/apis/apps/v1?hash=" + apps},
		},
		"document unchanged":   {path: "/openapi/v3/apis/apps/v1", header: map[string]string{"If-None-Match": `W/"x", "` + apps + `"`}, status: 304},
		"no such document":     {path: "/openapi/v3/apis/nonsense/v1", status: 404},
		"not out of the index": {path: "/openapi/v3/../v2", status: 404},
		"empty path":           {path: "/openapi/v3/", status: 404},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest("GET", "/", nil)
			if test.method != "" {
				req.Method = test.method
			}
			u, err := url.Parse(test.path)
			if err != nil {
				t.Fatal(err)
			}
			req.URL = u
			for key, value := range test.header {
				req.Header.Set(key, value)
			}
			rec := httptest.NewRecorder()
			newMux().ServeHTTP(rec, req)
			if rec.Code != test.status {
				t.Fatalf("status %d, want %d: %s", rec.Code, test.status, rec.Body)
			}
			for key, want := range test.want {
				if got := rec.Header().Get(key); got != want {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
			}
			if test.entry != "" {
				compareBody(t, rec, test.entry)
			}
		})
	}
}

func compareBody(t *testing.T, rec *httptest.ResponseRecorder, entry string) {
	t.Helper()
	if length := rec.Header().Get("Content-Length"); length != strconv.Itoa(rec.Body.Len()) {
		t.Errorf("Content-Length %s of a body of %d bytes", length, rec.Body.Len())
	}
	var body io.Reader = rec.Body
	if rec.Header().Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			t.Fatal(err)
		}
	}
	got, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	want, err := unpack(entry)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%d bytes, want the %d of %s", len(got), len(want), entry)
	}
}

// TestClientGo reads every document the way kubectl does.
func TestClientGo(t *testing.T) {
	server := httptest.NewServer(newMux())
	defer server.Close()
	client, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	v2, err := client.OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(v2.GetDefinitions().GetAdditionalProperties()); n < 400 {
		t.Errorf("v2 has %d definitions", n)
	}

	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"api/v1", "apis/apps/v1", "apis/networking.k8s.io/v1alpha1", "apis/autoscaling/v2", "version"} {
		if paths[path] == nil {
			t.Errorf("no document for %s", path)
		}
	}
	for path, gv := range paths {
		for _, contentType := range []string{"application/json", openapi.ContentTypeOpenAPIV3PB} {
			if _, err := gv.Schema(contentType); err != nil {
				t.Errorf("%s as %s: %v", path, contentType, err)
			}
		}
	}

	root := openapi3.NewRoot(client.OpenAPIV3())
	doc, err := root.GVSpec(schema.GroupVersion{Group: "networking.k8s.io", Version: "v1alpha1"})
	if err != nil {
		t.Fatal(err)
	}
	operation := doc.Paths.Paths["/apis/networking.k8s.io/v1alpha1/servicecidrs/{name}"].Patch
	got, _ := json.Marshal([]any{operation.Extensions["x-kubernetes-action"], operation.Extensions["x-kubernetes-group-version-kind"]})
	want := `["patch",{"group":"networking.k8s.io","kind":"ServiceCIDR","version":"v1alpha1"}]`
	if string(got) != want {
		t.Errorf("patch of a ServiceCIDR: %s, want %s", got, want)
	}
}

func TestSentAsEmbedded(t *testing.T) {
	allocations := testing.AllocsPerRun(10, func() {
		req := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		serveDocument(discard{http.Header{}}, req, "v2", formats("v2"))
	})
	if allocations > 100 {
		t.Errorf("%v allocations to send an embedded document as it is", allocations)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
