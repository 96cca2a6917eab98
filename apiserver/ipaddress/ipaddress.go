// Package ipaddress says what a valid IPAddress is and how one is shown: an address as a name, and
// the object that holds it. Rule ids are those of the behaviour specification, section B.
//
// It does not know who allocates addresses, nor whether a parent exists or an address lies in a
// ServiceCIDR: none of that is checked (B3.4). The exported functions fit the fields of
// resource.Resource, are pure and have no state. Only package apiserver imports this one; the labels
// of IPAddresses made for Services are in package clusterip.
//
//	resource.Resource{
//		Group: "networking.k8s.io", Kind: "IPAddress", Plural: "ipaddresses", Short: []string{"ip"},
//		ClusterScoped: true, NoStatus: true, // B1.1
//		Name: ipaddress.Name, Validate: ipaddress.Validate, Columns: ipaddress.Columns(),
//	}
package ipaddress

import (
	"context"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/apiserver/resource"
)

var parentRefPath = field.NewPath("spec", "parentRef")

// Name checks metadata.name: an address in the one canonical spelling (B3.1). A generateName must
// already be one, which is why prefix makes no difference.
func Name(name string, _ bool) []string {
	var messages []string
	for _, err := range validation.IsValidIP(nil, name) {
		messages = append(messages, err.Detail)
	}
	return messages
}

// Validate reports every fault of the reference of a new IPAddress (old is nil, B3.2), and any
// change of it (B3.3).
func Validate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	parent := obj.(*networkingv1.IPAddress).Spec.ParentRef
	if old == nil {
		return validateParentRef(parent)
	}
	if equality.Semantic.DeepEqual(parent, old.(*networkingv1.IPAddress).Spec.ParentRef) {
		return nil
	}
	return field.ErrorList{field.Invalid(parentRefPath, (*shownRef)(parent), "field is immutable")}
}

// shownRef is a reference as an error shows it: like upstream's internal type, it has no JSON names
// (0.2).
type shownRef struct{ Group, Resource, Namespace, Name string }

// validateParentRef: a group that may be the core one, a resource, a name, and where there is one
// a namespace, each fit to be part of a URL path (B3.2).
func validateParentRef(parent *networkingv1.ParentReference) field.ErrorList {
	if parent == nil {
		return field.ErrorList{field.Required(parentRefPath, "")}
	}
	var errs field.ErrorList
	for _, part := range []struct {
		name, value string
		required    bool
		check       func(string) []string
	}{
		{"group", parent.Group, false, validation.IsDNS1123Subdomain},
		{"resource", parent.Resource, true, content.IsPathSegmentName},
		{"name", parent.Name, true, content.IsPathSegmentName},
		{"namespace", parent.Namespace, false, content.IsPathSegmentName},
	} {
		switch path := parentRefPath.Child(part.name); {
		case part.value != "":
			for _, message := range part.check(part.value) {
				errs = append(errs, field.Invalid(path, part.value, message))
			}
		case part.required:
			errs = append(errs, field.Required(path, ""))
		}
	}
	return errs
}

// Columns are what `kubectl get ipaddresses` prints, wide or not (B8.2):
//
//	NAME       PARENTREF
//	10.96.0.1  services/default/kubernetes
func Columns() *resource.Columns {
	return &resource.Columns{
		Definitions: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
			{Name: "ParentRef", Type: "string", Description: networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"]},
		},
		Row: func(obj runtime.Object) []any {
			ip := obj.(*networkingv1.IPAddress)
			return []any{ip.Name, parentRefCell(ip.Spec.ParentRef)}
		},
	}
}

// parentRefCell is resource[.group][/namespace]/name (B8.2).
func parentRefCell(parent *networkingv1.ParentReference) string {
	if parent == nil {
		return "<none>"
	}
	kind := schema.GroupResource{Group: parent.Group, Resource: parent.Resource}
	parts := []string{strings.ToLower(kind.String())}
	if parent.Namespace != "" {
		parts = append(parts, parent.Namespace)
	}
	return strings.Join(append(parts, parent.Name), "/")
}
