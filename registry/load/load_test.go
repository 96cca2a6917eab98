package load

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/duetk8s/duet/registry"
)

// files of an archive, in order: "name" and content; content "-> x" is a link.
type files [][2]string

func (f files) write(t *testing.T, compress bool) string {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, file := range f {
		h := &tar.Header{Name: file[0], Mode: 0o644, Size: int64(len(file[1])), Typeflag: tar.TypeReg}
		if to, ok := strings.CutPrefix(file[1], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, file[1] = tar.TypeSymlink, to, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data := buffer.Bytes()
	if compress {
		data = zip(t, string(data))
	}
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func zip(t *testing.T, data string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func blob(data string) (name, descriptor string) {
	d := digest.FromString(data)
	return "blobs/sha256/" + d.Encoded(), fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}`, d, len(data))
}

// layout is an OCI archive of one image with one layer, without index.json, and its manifest.
func layout(layer string) (files, string) {
	layerAt, layerIs := blob(layer)
	configAt, configIs := blob("{}")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`, configIs, layerIs)
	manifestAt, _ := blob(manifest)
	return files{{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`}, {layerAt, layer}, {configAt, "{}"}, {manifestAt, manifest}}, manifest
}

// index is an index.json with a name for each manifest: "name", manifest, "name", manifest…
func index(annotation string, pairs ...string) [2]string {
	var entries []string
	for i := 0; i < len(pairs); i += 2 {
		_, d := blob(pairs[i+1])
		entries = append(entries, strings.TrimSuffix(d, "}")+fmt.Sprintf(`,"annotations":{%q:%q}}`, annotation, pairs[i]))
	}
	return [2]string{"index.json", `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`}
}

const refName = "org.opencontainers.image.ref.name"

// TestLoad loads archives and asks the registry as containerd would.
func TestLoad(t *testing.T) {
	image, manifest := layout("layer")
	_, manifestIs := blob(manifest)
	_, absentIs := blob("of another platform")
	both := fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s,%s]}`, absentIs, manifestIs)
	bothAt, _ := blob(both)
	none := fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, absentIs)
	noneAt, _ := blob(none)
	docker := func(list string) files {
		return files{{"c.json", "{}"}, {"a/layer.tar", "layer"}, {"b/layer.tar", "-> ../a/layer.tar"}, {"manifest.json", list}}
	}
	rows := []struct {
		name  string
		files files
		want  string // names in the registry, or the error
	}{
		{"docker", docker(`[{"Config":"c.json","RepoTags":["nginx:latest","quay.io/a/b"],"Layers":["a/layer.tar","b/layer.tar"]}]`), "docker.io/library/nginx:latest quay.io/a/b:latest"},
		{"docker, two images", docker(`[{"Config":"c.json","RepoTags":["x:1"],"Layers":["a/layer.tar"]},{"Config":"c.json","RepoTags":["y:1"],"Layers":["b/layer.tar"]}]`), "docker.io/library/x:1 docker.io/library/y:1"},
		{"OCI", append(image, index(refName, "docker.io/library/nginx:latest", manifest)), "docker.io/library/nginx:latest"},
		{"OCI, names of containerd", append(image, index(containerdName, "localhost:5000/x:1", manifest, "y:2", manifest)), "localhost:5000/x:1 docker.io/library/y:2"},
		{"OCI, one platform of two", append(image, [2]string{bothAt, both}, index(refName, "x:1", both)), "docker.io/library/x:1"},
		{"both, named by docker", append(append(image, index(refName, "latest", manifest)), docker(`[{"Config":"c.json","RepoTags":["x:1"],"Layers":["a/layer.tar"]}]`)...), "docker.io/library/x:1"},

		{"no platform", append(image, [2]string{noneAt, none}, index(refName, "x:1", none)), "x:1: the archive has none of the images that its index names"},
		{"no name", append(image, index(refName, "latest", manifest)), errNoName.Error()},
		{"docker, no name", docker(`[{"Config":"c.json","Layers":["a/layer.tar"]}]`), errNoName.Error()},
		{"docker, bad name", docker(`[{"Config":"c.json","RepoTags":["UPPER"],"Layers":["a/layer.tar"]}]`), `image name "UPPER": invalid reference format: repository name (library/UPPER) must be lowercase`},
		{"docker, layer missing", docker(`[{"Config":"c.json","RepoTags":["x"],"Layers":["z"]}]`), "z is missing"},
		{"OCI, layer missing", append(image[2:], index(refName, "x:1", manifest)), "x:1: " + image[1][0] + " is missing"},
		{"OCI, bad digest", append(image, [2]string{"index.json", `{"manifests":[{"digest":"sha256:../../etc","annotations":{"` + refName + `":"x:1"}}]}`}), `x:1: digest "sha256:../../etc": invalid checksum digest length`},
		{"empty", docker(`[]`), "there is no image in it"},
		{"something else", files{{"README", "x"}}, "it has neither a manifest.json, as docker archives have, nor an index.json, as OCI archives have"},
		{"not JSON", docker(`<`), "manifest.json: invalid character '<' looking for beginning of value"},
	}
	for _, row := range rows {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, compressed %t", row.name, compress), func(t *testing.T) {
				file := row.files.write(t, compress)
				names, err := loadInto(t, newServer(t), file)
				got := strings.Join(names, " ")
				if err != nil {
					got = strings.TrimPrefix(err.Error(), "read image archive "+file+": ")
				}
				if got != row.want {
					t.Errorf("got  %s\nwant %s", got, row.want)
				}
			})
		}
	}
}

func newServer(t *testing.T) Registry {
	t.Helper()
	store, err := registry.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return Registry{u, server.Client()}
}

// loadInto pushes all of a file, then fetches each image with all its layers.
func loadInto(t *testing.T, r Registry, file string) ([]string, error) {
	a, err := Open(file)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	var names []string
	for _, image := range a.Images {
		if err := r.Push(t.Context(), image); err != nil {
			return nil, err
		}
		for _, name := range image.Names {
			names = append(names, name.String())
			for _, c := range image.contents {
				fetch(t, r, "/v2/any/blobs/"+c.digest.String())
			}
			domain, rest, _ := strings.Cut(name.Name(), "/")
			if got := digest.FromString(fetch(t, r, "/v2/"+rest+"/manifests/"+name.Tag()+"?ns="+domain)); got != image.Digest {
				t.Errorf("%s is %s, want %s", name, got, image.Digest)
			}
		}
	}
	return names, nil
}

func fetch(t *testing.T, r Registry, path string) string {
	t.Helper()
	response, err := r.Client.Get(r.URL.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil || response.StatusCode != 200 {
		t.Errorf("%s: %s %s %v", path, response.Status, &body, err)
	}
	return body.String()
}

// TestCorrupt: content that does not have its digest is refused by the registry.
func TestCorrupt(t *testing.T) {
	image, manifest := layout("layer")
	image[1][1] = "lAyer"
	_, err := loadInto(t, newServer(t), append(image, index(refName, "x:1", manifest)).write(t, false))
	want := "push docker.io/library/x:1: the server answers 400 Bad Request: the content does not have this digest"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestCutOff: half a file.
func TestCutOff(t *testing.T) {
	image, manifest := layout(strings.Repeat("layer", 1000))
	for _, compress := range []bool{false, true} {
		name := append(image, index(refName, "x:1", manifest)).write(t, compress)
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, info.Size()/2); err != nil {
			t.Fatal(err)
		}
		if a, err := Open(name); err == nil {
			a.Close()
			t.Error("half an archive was read")
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestReason(t *testing.T) {
	for body, want := range map[string]string{
		`{"errors":[{"code":"X","message":"why"}]}`: "why", `{"kind":"Status","message":"forbidden"}`: "forbidden", " plain\n": "plain", "": "",
	} {
		if got := reason([]byte(body)); got != want {
			t.Errorf("%q: %q", body, got)
		}
	}
}
