// Package documents builds the OpenAPI documents that package apiserver/openapi embeds, from the
// routes of a server: what is written down is what is served.
//
// It runs when documents are regenerated (make update) and is no part of the duet binary.
package documents

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/emicklei/go-restful/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	namer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Config is what the documents are built from.
type Config struct {
	// Container holds the routes, one web service for each root path.
	Container *restful.Container
	// Scheme says which kinds a Go type has. Internal versions in it are left out.
	Scheme *runtime.Scheme
	// Definitions are the schemas of the Go types, made by openapi-gen.
	Definitions common.GetOpenAPIDefinitions
	// Version is what info.version says.
	Version string
}

// Document is one document in both of its encodings.
type Document struct {
	JSON, Proto []byte
}

// Set is everything that is embedded.
type Set struct {
	// V2 is the one document of /openapi/v2.
	V2 Document
	// V3 holds a document for each path below /openapi/v3, for example "apis/apps/v1".
	V3 map[string]Document
	// Types are the schemas that server-side apply works with.
	Types []byte
}

// Build makes all documents.
func Build(c Config) (*Set, error) {
	names := namer.NewDefinitionNamer(external(c.Scheme))
	v2, err := c.buildV2(names)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI v2: %w", err)
	}
	set := &Set{V2: v2, V3: map[string]Document{}}
	schemas := map[string]*spec.Schema{}
	for _, service := range c.Container.RegisteredWebServices() {
		path := strings.TrimPrefix(service.RootPath(), "/")
		doc, err := c.buildV3(names, service)
		if err != nil {
			return nil, fmt.Errorf("OpenAPI v3 of %s: %w", path, err)
		}
		if doc.Components != nil {
			maps.Copy(schemas, doc.Components.Schemas)
		}
		if err := complete(doc); err != nil {
			return nil, fmt.Errorf("OpenAPI v3 of %s: %w", path, err)
		}
		if set.V3[path], err = encodeV3(doc, path); err != nil {
			return nil, fmt.Errorf("OpenAPI v3 of %s: %w", path, err)
		}
	}
	if set.Types, err = encodeTypes(schemas); err != nil {
		return nil, fmt.Errorf("types: %w", err)
	}
	return set, nil
}

// external is s without internal versions, which would be kinds of the same Go types.
func external(s *runtime.Scheme) *runtime.Scheme {
	out := runtime.NewScheme()
	for gvk := range s.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		if obj, err := s.New(gvk); err == nil {
			out.AddKnownTypeWithName(gvk, obj)
		}
	}
	return out
}

func (c Config) buildV2(names *namer.DefinitionNamer) (Document, error) {
	swagger, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(c.Container.RegisteredWebServices()), &common.Config{
		ProtocolList:          []string{"https"},
		IgnorePrefixes:        []string{},
		Info:                  c.info(),
		DefaultResponse:       &spec.Response{ResponseProps: spec.ResponseProps{Description: "Default Response."}},
		CommonResponses:       map[int]spec.Response{http.StatusUnauthorized: {ResponseProps: spec.ResponseProps{Description: "Unauthorized"}}},
		GetOperationIDAndTags: namer.GetOperationIDAndTags, //nolint:staticcheck // k8s.io/apiserver has no other yet
		GetDefinitionName:     names.GetDefinitionName,
		GetDefinitions:        c.Definitions,
		SecurityDefinitions:   &spec.SecurityDefinitions{"BearerToken": bearerToken()},
		DefaultSecurity:       []map[string][]string{{"BearerToken": {}}},
	})
	if err != nil {
		return Document{}, err
	}
	swagger.Definitions = handler.PruneDefaults(swagger.Definitions)
	js, err := swagger.MarshalJSON()
	if err != nil {
		return Document{}, err
	}
	proto, err := handler.ToProtoBinary(js)
	return Document{JSON: js, Proto: proto}, err
}

func (c Config) buildV3(names *namer.DefinitionNamer, service *restful.WebService) (*spec3.OpenAPI, error) {
	config := &common.OpenAPIV3Config{
		IgnorePrefixes:        []string{},
		Info:                  c.info(),
		DefaultResponse:       &spec3.Response{ResponseProps: spec3.ResponseProps{Description: "Default Response."}},
		CommonResponses:       map[int]*spec3.Response{http.StatusUnauthorized: {ResponseProps: spec3.ResponseProps{Description: "Unauthorized"}}},
		GetOperationIDAndTags: namer.GetOperationIDAndTags, //nolint:staticcheck // k8s.io/apiserver has no other yet
		GetDefinitionName:     names.GetDefinitionName,
		GetDefinitions:        c.Definitions,
		SecuritySchemes: spec3.SecuritySchemes{"BearerToken": &spec3.SecurityScheme{SecuritySchemeProps: spec3.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication",
		}}},
		DefaultSecurity: []map[string][]string{{"BearerToken": {}}},
	}
	config.Definitions = c.Definitions(func(name string) spec.Ref {
		return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(name))
	})
	return builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{service}), config)
}

func encodeV3(doc *spec3.OpenAPI, path string) (Document, error) {
	if gv, ok := groupVersion(path); ok {
		narrow(doc, gv)
	}
	js, err := json.Marshal(doc)
	if err != nil {
		return Document{}, err
	}
	proto, err := handler3.ToV3ProtoBinary(js)
	return Document{JSON: js, Proto: proto}, err
}

// complete checks that every kind that a path is about is the kind of a schema: that is how kubectl
// explain finds it. A type missing from the scheme or from openapi-gen's packages shows here.
func complete(doc *spec3.OpenAPI) error {
	described := map[schema.GroupVersionKind]bool{}
	if doc.Components != nil {
		for _, s := range doc.Components.Schemas {
			for _, gvk := range kinds(s) {
				described[gvk] = true
			}
		}
	}
	if doc.Paths == nil {
		return nil
	}
	for path, item := range doc.Paths.Paths {
		for _, operation := range []*spec3.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch} {
			if operation == nil || operation.Extensions[extensionAction] == "connect" {
				continue
			}
			gvk, ok := kind(operation.Extensions[extensionGVK])
			if ok && !described[gvk] {
				return fmt.Errorf("path %s is about %v, which no schema describes", path, gvk)
			}
		}
	}
	return nil
}

func (c Config) info() *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: c.Version}}
}

func bearerToken() *spec.SecurityScheme {
	return &spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{
		Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication",
	}}
}

// groupVersion reads "api/v1" and "apis/GROUP/VERSION".
func groupVersion(path string) (schema.GroupVersion, bool) {
	switch parts := strings.Split(path, "/"); {
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, true
	case len(parts) == 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, true
	}
	return schema.GroupVersion{}, false
}

// narrow keeps, of the kinds of DeleteOptions and WatchEvent (one in every group version), those
// of gv and of core v1.
func narrow(doc *spec3.OpenAPI, gv schema.GroupVersion) {
	if doc.Components == nil {
		return
	}
	for _, s := range doc.Components.Schemas {
		var kept []any
		for _, gvk := range kinds(s) {
			if gvk.Kind != "DeleteOptions" && gvk.Kind != "WatchEvent" {
				kept = nil
				break
			}
			if gvk.GroupVersion() == gv || gvk.GroupVersion() == (schema.GroupVersion{Version: "v1"}) {
				kept = append(kept, map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind})
			}
		}
		if len(kept) > 0 {
			s.Extensions[extensionGVK] = kept
		}
	}
}

const (
	extensionGVK    = "x-kubernetes-group-version-kind"
	extensionAction = "x-kubernetes-action"
)

// kinds reads the extension that tells which kinds a schema describes.
func kinds(s *spec.Schema) (out []schema.GroupVersionKind) {
	list, _ := s.Extensions[extensionGVK].([]any)
	for _, item := range list {
		if gvk, ok := kind(item); ok {
			out = append(out, gvk)
		}
	}
	return out
}

// kind reads a kind as the builders leave it: as a map, or as the struct of a route's metadata.
func kind(extension any) (schema.GroupVersionKind, bool) {
	switch k := extension.(type) {
	case map[string]any:
		group, _ := k["group"].(string)
		version, _ := k["version"].(string)
		name, ok := k["kind"].(string)
		return schema.GroupVersionKind{Group: group, Version: version, Kind: name}, ok
	case metav1.GroupVersionKind:
		return schema.GroupVersionKind(k), true
	}
	return schema.GroupVersionKind{}, false
}
