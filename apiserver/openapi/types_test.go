package openapi

import (
	"encoding/json"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/spec3"

	"github.com/duetk8s/duet/apiserver/openapi/typeset"
)

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

var podSpec = corev1.PodSpec{
	Containers: []corev1.Container{{
		Name:  "web",
		Ports: []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 80, Protocol: corev1.ProtocolUDP}},
		Env:   []corev1.EnvVar{{Name: "A", Value: "b"}},
	}},
	HostAliases: []corev1.HostAlias{{IP: "fd00::1", Hostnames: []string{"foo", "bar"}}},
	Tolerations: []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}},
}

// objects have, between them, each shape of list and map that types differ in.
var objects = map[string]struct {
	document string
	object   runtime.Object
}{
	"pod": {"v3/api/v1.json", &corev1.Pod{
		TypeMeta: typeMeta("v1", "Pod"), ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}, Finalizers: []string{"x/y"}},
		Spec:   podSpec,
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}},
	}},
	"service": {"v3/api/v1.json", &corev1.Service{
		TypeMeta: typeMeta("v1", "Service"),
		Spec: corev1.ServiceSpec{
			ClusterIPs: []string{"10.96.0.1", "fd00::1"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
			Ports:    []corev1.ServicePort{{Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromString("dns")}, {Port: 53, TargetPort: intstr.FromInt32(53)}},
			Selector: map[string]string{"app": "web"},
		},
	}},
	"deployment": {"v3/apis/apps/v1.json", &appsv1.Deployment{
		TypeMeta: typeMeta("apps/v1", "Deployment"),
		Spec:     appsv1.DeploymentSpec{Replicas: new(int32(2)), Template: corev1.PodTemplateSpec{Spec: podSpec}},
	}},
	"scale, kept among the types of apps/v1": {"v3/apis/apps/v1.json", &autoscalingv1.Scale{
		TypeMeta: typeMeta("autoscaling/v1", "Scale"), Spec: autoscalingv1.ScaleSpec{Replicas: 3},
	}},
	"servicecidr v1": {"v3/apis/networking.k8s.io/v1.json", &networkingv1.ServiceCIDR{
		TypeMeta: typeMeta("networking.k8s.io/v1", "ServiceCIDR"), Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.0.0.0/24", "fd00::/64"}},
	}},
	"servicecidr v1beta1": {"v3/apis/networking.k8s.io/v1beta1.json", &networkingv1beta1.ServiceCIDR{
		TypeMeta: typeMeta("networking.k8s.io/v1beta1", "ServiceCIDR"), Spec: networkingv1beta1.ServiceCIDRSpec{CIDRs: []string{"10.0.0.0/24"}},
	}},
	"servicecidr v1alpha1, a Go type of v1": {"v3/apis/networking.k8s.io/v1alpha1.json", &networkingv1.ServiceCIDR{
		TypeMeta: typeMeta("networking.k8s.io/v1alpha1", "ServiceCIDR"), Status: networkingv1.ServiceCIDRStatus{Conditions: []metav1.Condition{{Type: "Ready", Status: "True"}}},
	}},
	"ipaddress v1alpha1": {"v3/apis/networking.k8s.io/v1alpha1.json", &networkingv1.IPAddress{
		TypeMeta: typeMeta("networking.k8s.io/v1alpha1", "IPAddress"), Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Name: "x"}},
	}},
	"cluster role": {"v3/apis/rbac.authorization.k8s.io/v1.json", &rbacv1.ClusterRole{
		TypeMeta: typeMeta("rbac.authorization.k8s.io/v1", "ClusterRole"), Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}}},
	}},
}

// TestTypesAsUpstream holds the embedded types against those that apimachinery makes of the
// embedded document itself: the same fields of the same object.
func TestTypesAsUpstream(t *testing.T) {
	for name, test := range objects {
		t.Run(name, func(t *testing.T) {
			upstream := upstreamTypes(t, test.document)
			want := fieldsOf(t, upstream, test.object)
			if got := fieldsOf(t, Types(), test.object); got != want {
				t.Errorf("fields of the Go object:\n got %s\nwant %s", got, want)
			}
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(test.object)
			if err != nil {
				t.Fatal(err)
			}
			u := &unstructured.Unstructured{Object: content}
			if got := fieldsOf(t, Types(), u); got != fieldsOf(t, upstream, u) {
				t.Errorf("fields of the unstructured object: got %s", got)
			}
		})
	}
}

func upstreamTypes(t *testing.T, document string) managedfields.TypeConverter {
	t.Helper()
	data, err := unpack(document)
	if err != nil {
		t.Fatal(err)
	}
	var doc spec3.OpenAPI
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	converter, err := managedfields.NewTypeConverter(doc.Components.Schemas, false)
	if err != nil {
		t.Fatal(err)
	}
	return converter
}

func fieldsOf(t *testing.T, converter managedfields.TypeConverter, obj runtime.Object) string {
	t.Helper()
	value, err := converter.ObjectToTyped(obj)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := value.ToFieldSet()
	if err != nil {
		t.Fatal(err)
	}
	back, err := converter.TypedToObject(value)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := back.(*unstructured.Unstructured); !ok {
		t.Errorf("TypedToObject made a %T", back)
	}
	return fields.String()
}

func TestTypesRefuse(t *testing.T) {
	upstream, err := managedfields.NewTypeConverter(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range map[string]map[string]any{
		"unknown kind":    {"apiVersion": "v1", "kind": "Nonsense"},
		"unknown version": {"apiVersion": "apps/v9", "kind": "Deployment"},
		"no kind":         {},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: object}
			_, want := upstream.ObjectToTyped(u)
			if _, got := Types().ObjectToTyped(u); got == nil || got.Error() != want.Error() {
				t.Errorf("error %v, want %v", got, want)
			}
		})
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "spec": map[string]any{"clusterIPz": []any{}},
	}}
	if _, err := Types().ObjectToTyped(u); err == nil {
		t.Error("an unknown field is taken")
	}
}

func TestTypesConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		for _, test := range objects {
			wg.Go(func() {
				if _, err := Types().ObjectToTyped(test.object); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}

// BenchmarkTypesFirstUse is what the first write after a start pays.
func BenchmarkTypesFirstUse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		data, err := unpack("types.bin")
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := typeset.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
