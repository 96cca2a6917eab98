//go:build openapi

package main

// A stand-in for the routes of package apiserver until that can be built without a store: the
// same kinds with storages that do nothing. Delete it then.

import (
	"context"
	"errors"
	"reflect"
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
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	restclient "k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"

	"github.com/duetk8s/duet/apiserver/openapi"
)

// rows are "group/version: plural=Kind…"; a leading + means cluster-scoped, a trailing ! no status,
// a trailing # a scale subresource, a trailing $ create alone.
var rows = map[string]string{
	"v1": "+componentstatuses=ComponentStatus! configmaps=ConfigMap! endpoints=Endpoints! events=Event! limitranges=LimitRange! " +
		"+namespaces=Namespace +nodes=Node persistentvolumeclaims=PersistentVolumeClaim +persistentvolumes=PersistentVolume " +
		"pods=Pod podtemplates=PodTemplate! replicationcontrollers=ReplicationController# resourcequotas=ResourceQuota " +
		"secrets=Secret! serviceaccounts=ServiceAccount! services=Service bindings=Binding$ " +
		"pods/binding=Binding$ pods/eviction=policy/v1/Eviction$ serviceaccounts/token=authentication.k8s.io/v1/TokenRequest$",
	"apps/v1":                      "controllerrevisions=ControllerRevision! daemonsets=DaemonSet deployments=Deployment# replicasets=ReplicaSet# statefulsets=StatefulSet#",
	"batch/v1":                     "cronjobs=CronJob jobs=Job",
	"discovery.k8s.io/v1":          "endpointslices=EndpointSlice!",
	"networking.k8s.io/v1":         "+ingressclasses=IngressClass! ingresses=Ingress networkpolicies=NetworkPolicy! +servicecidrs=ServiceCIDR +ipaddresses=IPAddress!",
	"networking.k8s.io/v1beta1":    "+servicecidrs=ServiceCIDR +ipaddresses=IPAddress!",
	"networking.k8s.io/v1alpha1":   "+servicecidrs=ServiceCIDR +ipaddresses=IPAddress!",
	"coordination.k8s.io/v1":       "leases=Lease!",
	"rbac.authorization.k8s.io/v1": "roles=Role! rolebindings=RoleBinding! +clusterroles=ClusterRole! +clusterrolebindings=ClusterRoleBinding!",
	"policy/v1":                    "poddisruptionbudgets=PodDisruptionBudget",
	"scheduling.k8s.io/v1":         "+priorityclasses=PriorityClass!",
	"storage.k8s.io/v1":            "+csidrivers=CSIDriver! +csinodes=CSINode! csistoragecapacities=CSIStorageCapacity! +storageclasses=StorageClass! +volumeattachments=VolumeAttachment",
	"node.k8s.io/v1":               "+runtimeclasses=RuntimeClass!",
	"events.k8s.io/v1":             "events=Event!",
	"certificates.k8s.io/v1":       "+certificatesigningrequests=CertificateSigningRequest",
	"autoscaling/v2":               "horizontalpodautoscalers=HorizontalPodAutoscaler",
	"autoscaling/v1":               "horizontalpodautoscalers=HorizontalPodAutoscaler",
	"authorization.k8s.io/v1":      "+subjectaccessreviews=SubjectAccessReview$ +selfsubjectaccessreviews=SelfSubjectAccessReview$ +selfsubjectrulesreviews=SelfSubjectRulesReview$ localsubjectaccessreviews=LocalSubjectAccessReview$",
	"authentication.k8s.io/v1":     "+tokenreviews=TokenReview$ +selfsubjectreviews=SelfSubjectReview$",
}

func standIn() (*genericapiserver.GenericAPIServer, *runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme,
		autoscalingv2.AddToScheme, autoscalingv1.AddToScheme, batchv1.AddToScheme, certificatesv1.AddToScheme,
		coordinationv1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme, networkingv1.AddToScheme,
		networkingv1beta1.AddToScheme, nodev1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme,
		schedulingv1.AddToScheme, storagev1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	alpha := schema.GroupVersion{Group: networkingv1.GroupName, Version: "v1alpha1"}
	s.AddKnownTypes(alpha, &networkingv1.ServiceCIDR{}, &networkingv1.ServiceCIDRList{}, &networkingv1.IPAddress{}, &networkingv1.IPAddressList{})
	metav1.AddToGroupVersion(s, alpha)
	codecs := serializer.NewCodecFactory(s)

	config := genericapiserver.NewConfig(codecs)
	config.ExternalAddress = "127.0.0.1:443"
	config.LoopbackClientConfig = &restclient.Config{}
	config.EffectiveVersion = basecompatibility.NewEffectiveVersionFromString("1.37", "", "")
	server, err := config.Complete(nil).New("openapi", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, nil, err
	}
	groups := map[string]*genericapiserver.APIGroupInfo{}
	for gvText, list := range rows {
		gv, err := schema.ParseGroupVersion(gvText)
		utilruntime.Must(err)
		group := groups[gv.Group]
		if group == nil {
			info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, s, runtime.NewParameterCodec(s), codecs)
			group = &info
			groups[gv.Group] = group
		}
		group.VersionedResourcesStorageMap[gv.Version] = storages(s, gv, list)
	}
	for _, group := range groups {
		if err := openapi.Install(server, config, openapi.Types(), group); err != nil {
			return nil, nil, err
		}
	}
	return server, s, nil
}

func storages(s *runtime.Scheme, gv schema.GroupVersion, list string) map[string]rest.Storage {
	out := map[string]rest.Storage{}
	for row := range strings.FieldsSeq(list) {
		name, kind, _ := strings.Cut(row, "=")
		name, clusterScoped := strings.CutPrefix(name, "+")
		marks := strings.TrimLeft(kind[len(strings.TrimRight(kind, "!#$")):], "")
		kind = strings.TrimRight(kind, "!#$")
		gvk := gv.WithKind(kind)
		if parts := strings.Split(kind, "/"); len(parts) == 3 {
			gvk = schema.GroupVersionKind{Group: parts[0], Version: parts[1], Kind: parts[2]}
		}
		base := store{scheme: s, gvk: gvk, namespaced: !clusterScoped}
		if marks == "$" {
			out[name] = creator{base}
			continue
		}
		out[name] = &full{base}
		if marks != "!" {
			out[name+"/status"] = updater{base}
		}
		if marks == "#" {
			scale := base
			scale.gvk = autoscalingv1.SchemeGroupVersion.WithKind("Scale")
			out[name+"/scale"] = updater{scale}
		}
	}
	return out
}

var errStandIn = errors.New("stand-in")

type store struct {
	scheme     *runtime.Scheme
	gvk        schema.GroupVersionKind
	namespaced bool
}

func (s store) New() runtime.Object {
	obj, err := s.scheme.New(s.gvk)
	utilruntime.Must(err)
	return obj
}
func (s store) Destroy()                                                     {}
func (s store) NamespaceScoped() bool                                        { return s.namespaced }
func (s store) GetSingularName() string                                      { return strings.ToLower(s.gvk.Kind) }
func (s store) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return s.gvk }
func (s store) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return nil, errStandIn
}

type creator struct{ store }

func (creator) Create(context.Context, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errStandIn
}
func (creator) Get() {} // hides store.Get: create alone

type updater struct{ store }

func (updater) Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return nil, false, errStandIn
}

type full struct{ store }

func (f *full) NewList() runtime.Object {
	list := f.gvk
	list.Kind += "List"
	obj, err := f.scheme.New(list)
	utilruntime.Must(err)
	return obj
}
func (*full) Create(context.Context, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errStandIn
}
func (*full) Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return nil, false, errStandIn
}
func (*full) Delete(context.Context, string, rest.ValidateObjectFunc, *metav1.DeleteOptions) (runtime.Object, bool, error) {
	return nil, false, errStandIn
}
func (*full) DeleteCollection(context.Context, rest.ValidateObjectFunc, *metav1.DeleteOptions, *internalversion.ListOptions) (runtime.Object, error) {
	return nil, errStandIn
}
func (*full) List(context.Context, *internalversion.ListOptions) (runtime.Object, error) {
	return nil, errStandIn
}
func (*full) Watch(context.Context, *internalversion.ListOptions) (watch.Interface, error) {
	return nil, errStandIn
}
func (*full) ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error) {
	return nil, errStandIn
}

var _ = reflect.TypeFor[rest.StandardStorage]
