package documents

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emicklei/go-restful/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/duetk8s/duet/apiserver/openapi/typeset"
)

// sample is a served kind, part a type in it, options what every group version has.
type (
	sample  struct{ metav1.TypeMeta }
	options struct{ metav1.TypeMeta }
)

func (s *sample) DeepCopyObject() runtime.Object  { return &sample{s.TypeMeta} }
func (o *options) DeepCopyObject() runtime.Object { return &options{o.TypeMeta} }
func (sample) OpenAPIModelName() string           { return "example.sample" }
func (options) OpenAPIModelName() string          { return "example.options" }

var (
	one   = schema.GroupVersion{Group: "one.example", Version: "v1"}
	two   = schema.GroupVersion{Group: "two.example", Version: "v1"}
	alpha = schema.GroupVersion{Group: "one.example", Version: "v1alpha1"}
)

func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	object := func(properties map[string]spec.Schema) spec.Schema {
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: properties}}
	}
	list := spec.ArrayProperty(&spec.Schema{SchemaProps: spec.SchemaProps{Ref: ref("example.part")}})
	list.AddExtension("x-kubernetes-list-type", "map")
	list.AddExtension("x-kubernetes-list-map-keys", []any{"port"})
	return map[string]common.OpenAPIDefinition{
		"example.sample":  {Schema: object(map[string]spec.Schema{"parts": *list}), Dependencies: []string{"example.part"}},
		"example.part":    {Schema: object(map[string]spec.Schema{"port": *spec.Int32Property()})},
		"example.options": {Schema: object(nil)},
	}
}

func nothing(*restful.Request, *restful.Response) {}

// server serves samples in two versions of a group, from the one Go type, and options.
func server() Config {
	s := runtime.NewScheme()
	for _, gv := range []schema.GroupVersion{one, alpha, {Group: one.Group, Version: runtime.APIVersionInternal}} {
		s.AddKnownTypeWithName(gv.WithKind("Sample"), &sample{})
	}
	for _, gv := range []schema.GroupVersion{one, two, {Version: "v1"}} {
		s.AddKnownTypeWithName(gv.WithKind("DeleteOptions"), &options{})
	}
	container := restful.NewContainer()
	for _, gv := range []schema.GroupVersion{one, alpha} {
		ws := new(restful.WebService).Path("/apis/" + gv.String()).Consumes("application/json").Produces("application/json")
		gvk := metav1.GroupVersionKind(gv.WithKind("Sample"))
		ws.Route(ws.GET("/samples/{name}").To(nothing).Operation("readSample"+gv.Version).
			Param(ws.PathParameter("name", "name of the Sample")).
			Metadata("x-kubernetes-action", "get").Metadata("x-kubernetes-group-version-kind", gvk).
			Returns(200, "OK", sample{}))
		ws.Route(ws.DELETE("/samples/{name}").To(nothing).Operation("deleteSample"+gv.Version).
			Param(ws.PathParameter("name", "name of the Sample")).Reads(options{}).
			Metadata("x-kubernetes-action", "delete").Metadata("x-kubernetes-group-version-kind", gvk).
			Returns(200, "OK", sample{}))
		container.Add(ws)
	}
	return Config{Container: container, Scheme: s, Definitions: definitions, Version: "v9"}
}

func TestBuild(t *testing.T) {
	set, err := Build(server())
	if err != nil {
		t.Fatal(err)
	}
	const v3 = "apis/one.example/v1alpha1"
	tests := map[string]struct {
		doc  []byte
		path []string
		want string
	}{
		"v2 path":        {set.V2.JSON, []string{"paths", "/apis/one.example/v1/samples/{name}", "get", "x-kubernetes-action"}, `"get"`},
		"v2 kinds":       {set.V2.JSON, []string{"definitions", "example.sample", extensionGVK}, `[{"group":"one.example","kind":"Sample","version":"v1"},{"group":"one.example","kind":"Sample","version":"v1alpha1"}]`},
		"v2 version":     {set.V2.JSON, []string{"info", "version"}, `"v9"`},
		"v2 security":    {set.V2.JSON, []string{"security"}, `[{"BearerToken":[]}]`},
		"v3 path":        {set.V3[v3].JSON, []string{"paths", "/" + v3 + "/samples/{name}", "get", extensionGVK}, `{"group":"one.example","kind":"Sample","version":"v1alpha1"}`},
		"v3 reference":   {set.V3[v3].JSON, []string{"components", "schemas", "example.sample", "properties", "parts", "items", "$ref"}, `"#/components/schemas/example.part"`},
		"v3 options":     {set.V3["apis/one.example/v1"].JSON, []string{"components", "schemas", "example.options", extensionGVK}, `[{"group":"","kind":"DeleteOptions","version":"v1"},{"group":"one.example","kind":"DeleteOptions","version":"v1"}]`},
		"v3 both kinds":  {set.V3[v3].JSON, []string{"components", "schemas", "example.sample", extensionGVK}, `[{"group":"one.example","kind":"Sample","version":"v1"},{"group":"one.example","kind":"Sample","version":"v1alpha1"}]`},
		"v3 unasked for": {set.V3[v3].JSON, []string{"paths", "/apis/one.example/v1/samples/{name}"}, `null`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var at any
			if err := json.Unmarshal(test.doc, &at); err != nil {
				t.Fatal(err)
			}
			for _, key := range test.path {
				m, _ := at.(map[string]any)
				at = m[key]
			}
			if got, _ := json.Marshal(at); string(got) != test.want {
				t.Errorf("%s: %s, want %s", strings.Join(test.path, " "), got, test.want)
			}
		})
	}

	t.Run("types", func(t *testing.T) {
		kinds, types, err := typeset.Decode(set.Types)
		if err != nil {
			t.Fatal(err)
		}
		if len(kinds) != 2 || kinds[alpha.WithKind("Sample")] != "example.sample" {
			t.Errorf("kinds %v", kinds)
		}
		part, ok := types.FindNamedType("example.sample")
		if !ok || !slices.Equal(part.Fields[0].Type.Inlined.Keys, []string{"port"}) {
			t.Errorf("sample is %+v", part)
		}
		if _, ok := types.FindNamedType("example.options"); ok {
			t.Error("options are among the types")
		}
	})
}

func TestBuildRefuses(t *testing.T) {
	unknown := server()
	unknown.Scheme = runtime.NewScheme()
	undefined := server()
	undefined.Definitions = func(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return nil }
	for want, config := range map[string]Config{
		"is about one.example/v1, Kind=Sample, which no schema describes": unknown,
		"cannot find model definition for example.":                       undefined,
	} {
		if _, err := Build(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestArchive(t *testing.T) {
	set, err := Build(server())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "documents.zip")
	if err := set.Verify(file); err == nil {
		t.Error("no archive is current")
	}
	if err := set.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := set.Verify(file); err != nil {
		t.Error(err)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for _, f := range r.File {
		names = append(names, f.Name)
		if f.Name == "v3/apis/one.example/v1.pb" && f.Comment != hash(set.V3["apis/one.example/v1"].JSON) {
			t.Errorf("%s has ETag %s", f.Name, f.Comment)
		}
	}
	want := "types.bin v2.json v2.pb v3.json v3/apis/one.example/v1.json v3/apis/one.example/v1.pb " +
		"v3/apis/one.example/v1alpha1.json v3/apis/one.example/v1alpha1.pb"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("entries %s, want %s", got, want)
	}

	changed := server()
	changed.Version = "v10"
	other, err := Build(changed)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Verify(file); err == nil || !strings.Contains(err.Error(), "is not current (run make update): v2.json, v2.pb, v3.json, v3/apis/one.example/v1.json") {
		t.Errorf("error %v", err)
	}
	if err := set.Write(file); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(file); string(again) != string(first) {
		t.Error("written again, the archive has other bytes")
	}
}
