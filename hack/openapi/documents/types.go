package documents

import (
	"strings"

	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/duetk8s/duet/apiserver/openapi/typeset"
)

// encodeTypes turns the schemas of all group versions into what server-side apply needs of them.
// Lists and options have no managed fields and are left out.
func encodeTypes(schemas map[string]*spec.Schema) ([]byte, error) {
	kindTypes := typeset.Kinds{}
	needed := map[string]*spec.Schema{}
	for name, s := range schemas {
		for _, gvk := range kinds(s) {
			if strings.HasSuffix(gvk.Kind, "List") || metaKinds[gvk.Kind] {
				continue
			}
			kindTypes[gvk] = name
			reach(name, schemas, needed)
		}
	}
	types, err := schemaconv.ToSchemaFromOpenAPI(needed, false)
	if err != nil {
		return nil, err
	}
	return typeset.Encode(kindTypes, types.Types)
}

// metaKinds are registered in every group version but stored in none.
var metaKinds = map[string]bool{"DeleteOptions": true, "WatchEvent": true, "Status": true, "APIGroup": true, "APIVersions": true}

// reach adds the schema called name, and all it refers to, to found.
func reach(name string, schemas, found map[string]*spec.Schema) {
	s := schemas[name]
	if s == nil || found[name] != nil {
		return
	}
	found[name] = s
	for _, next := range references(s) {
		reach(next, schemas, found)
	}
}

// references returns the names that s refers to, at any depth.
func references(s *spec.Schema) (names []string) {
	if s == nil {
		return nil
	}
	if ref := s.Ref.String(); ref != "" {
		names = append(names, ref[strings.LastIndex(ref, "/")+1:])
	}
	for _, property := range s.Properties {
		names = append(names, references(&property)...)
	}
	for i := range s.AllOf {
		names = append(names, references(&s.AllOf[i])...)
	}
	if s.Items != nil {
		names = append(names, references(s.Items.Schema)...)
	}
	if s.AdditionalProperties != nil {
		names = append(names, references(s.AdditionalProperties.Schema)...)
	}
	return names
}
