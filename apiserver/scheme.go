package apiserver

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/pods"
	"github.com/duetk8s/duet/apiserver/resource"
)

// scheme is what the server knows of Go types: the published v1 types, each registered a second
// time as the internal version of its group, so that "conversion" between what is on the wire, in
// memory and in etcd is the identity. Only the two kinds of Events are converted for real (see
// convert.go).
type scheme struct {
	*runtime.Scheme
	codecs     serializer.CodecFactory
	parameters runtime.ParameterCodec
}

func newScheme(table []resource.Resource) (*scheme, error) {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	s.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})

	// The version whose Go types stand for the whole group comes first.
	versions := []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme,
		autoscalingv2.AddToScheme, autoscalingv1.AddToScheme, batchv1.AddToScheme, certificatesv1.AddToScheme,
		coordinationv1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme, networkingv1.AddToScheme,
		nodev1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme,
		schedulingv1.AddToScheme, storagev1.AddToScheme,
	}
	for _, add := range versions {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("apiserver: scheme: %w", err)
		}
	}
	addOlderNetworking(s)
	addInternal(s)
	for _, add := range []func(*runtime.Scheme) error{convertEvents, pods.AddConversions} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("apiserver: scheme: %w", err)
		}
	}
	for _, r := range table {
		if err := addResource(s, r); err != nil {
			return nil, fmt.Errorf("apiserver: scheme: %s: %w", r.Plural, err)
		}
	}
	return &scheme{Scheme: s, codecs: serializer.NewCodecFactory(s), parameters: runtime.NewParameterCodec(s)}, nil
}

// addOlderNetworking serves the v1 types as networking.k8s.io/v1beta1 and v1alpha1 too, whose fields
// are the same (behaviour.md, B1.5). v1alpha1 has left k8s.io/api but is what the documentation's own
// manifest asks for; v1beta1's own Go types would warn of a removal that does not happen here.
func addOlderNetworking(s *runtime.Scheme) {
	for _, version := range []string{"v1beta1", "v1alpha1"} {
		gv := schema.GroupVersion{Group: networkingv1.GroupName, Version: version}
		s.AddKnownTypes(gv, &networkingv1.ServiceCIDR{}, &networkingv1.ServiceCIDRList{},
			&networkingv1.IPAddress{}, &networkingv1.IPAddressList{})
		metav1.AddToGroupVersion(s, gv)
	}
}

// addInternal registers every API type as the internal version of its group. A kind that several
// versions have as different Go types (autoscaling) is internal as the first of them.
func addInternal(s *runtime.Scheme) {
	preferred := []schema.GroupVersion{autoscalingv2.SchemeGroupVersion, networkingv1.SchemeGroupVersion}
	rest := slices.DeleteFunc(s.PrioritizedVersionsAllGroups(), func(gv schema.GroupVersion) bool {
		return slices.Contains(preferred, gv) || gv.Group == networkingv1.GroupName
	})
	for _, gv := range append(preferred, rest...) {
		internal := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
		for _, kind := range slices.Sorted(maps.Keys(s.KnownTypes(gv))) {
			t := s.KnownTypes(gv)[kind]
			if !strings.HasPrefix(t.PkgPath(), "k8s.io/api/") || s.Recognizes(internal.WithKind(kind)) {
				continue
			}
			if gv.Group == eventsv1.GroupName {
				t = s.KnownTypes(corev1.SchemeGroupVersion)[kind] // one Event in memory: core/v1's
			}
			s.AddKnownTypeWithName(internal.WithKind(kind), reflect.New(t).Interface().(runtime.Object))
		}
	}
}

// addResource registers the defaults and field selectors of one row of the table.
func addResource(s *runtime.Scheme, r resource.Resource) error {
	if r.Default != nil {
		s.AddTypeDefaultingFunc(r.New(), func(obj any) { r.Default(obj.(runtime.Object)) })
	}
	if r.Fields == nil {
		return nil
	}
	known := r.Fields(r.New())
	for _, version := range versionsOf(r) {
		gvk := schema.GroupVersionKind{Group: r.Group, Version: version, Kind: r.Kind}
		err := s.AddFieldLabelConversionFunc(gvk, func(label, value string) (string, string, error) {
			if r.Group == eventsv1.GroupName {
				label = kinds.RegardingLabel(label)
			}
			if label == "metadata.name" || label == "metadata.namespace" || known.Has(label) {
				return label, value, nil
			}
			return "", "", fmt.Errorf("field label not supported: %s", label)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func versionsOf(r resource.Resource) []string {
	if len(r.Versions) == 0 {
		return []string{"v1"}
	}
	return r.Versions
}
