package nodeauth_test

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/yaml"

	"github.com/duetk8s/duet/apiserver/nodeauth"
)

const api = "https://kubernetes.default.svc"

// write is a request of node "mine".
type write struct {
	name      string
	operation admission.Operation
	resource  string // [GROUP/]RESOURCE
	sub       string
	about     string // namespace/name
	old, now  runtime.Object
	want      string // "": allowed
}

func (w write) validate(t *testing.T, r nodeauth.Restriction) error {
	t.Helper()
	group, resource, found := strings.Cut(w.resource, "/")
	if !found {
		group, resource = "", w.resource
	}
	namespace, name, _ := strings.Cut(w.about, "/")
	return r.Validate(t.Context(), admission.NewAttributesRecord(w.now, w.old, schema.GroupVersionKind{}, namespace, name,
		schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, w.sub, w.operation, nil, false,
		&user.DefaultInfo{Name: "system:node:mine", Groups: []string{user.NodesGroup}}), nil)
}

func check(t *testing.T, r nodeauth.Restriction, writes []write) {
	t.Helper()
	for _, w := range writes {
		err := w.validate(t, r)
		if w.want == "" && err != nil || w.want != "" && (err == nil || !strings.HasSuffix(err.Error(), w.want)) {
			t.Errorf("%s:\n got %v\nwant %s", w.name, err, w.want)
		}
	}
}

func object[T any](t *testing.T, text string) *T {
	t.Helper()
	o := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRestrictPods(t *testing.T) {
	own, other := podOf(t, "mine", everything), podOf(t, "other", `{}`)
	r := nodeauth.Restriction{Graph: newGraph(t, []runtime.Object{own, other}), Audience: api}
	const mirrored = "metadata: {name: m, annotations: {kubernetes.io/config.mirror: x}}\n"
	mirror := func(text string) *corev1.Pod { return object[corev1.Pod](t, mirrored+text) }
	owned := mirror("spec: {nodeName: mine}")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "mine"}}
	stranger := owned.DeepCopy()
	stranger.OwnerReferences[0].Name = "other"
	labelled := own.DeepCopy()
	labelled.Labels = map[string]string{"app": "web"}
	const update = `node "mine" can only update pod status for pods with spec.nodeName set to itself`
	check(t, r, []write{
		{"a mirror", admission.Create, "pods", "", "prod/m", nil, mirror("spec: {nodeName: mine}"), ""},
		{"a mirror of its own", admission.Create, "pods", "", "prod/m", nil, owned, ""},
		{"a mirror of another's", admission.Create, "pods", "", "prod/m", nil, stranger, `node "mine" can only create pods with an owner reference set to itself`},
		{"no mirror", admission.Create, "pods", "", "prod/m", nil, own, `pod does not have "kubernetes.io/config.mirror" annotation, node "mine" can only create mirror pods`},
		{"a mirror elsewhere", admission.Create, "pods", "", "prod/m", nil, mirror("spec: {nodeName: other}"), `node "mine" can only create pods with spec.nodeName set to itself`},
		{"with an account", admission.Create, "pods", "", "prod/m", nil, mirror("spec: {nodeName: mine, serviceAccountName: robot}"), `node "mine" can not create pods that reference a service account`},
		{"with a Secret", admission.Create, "pods", "", "prod/m", nil, mirror("spec: {nodeName: mine, imagePullSecrets: [{name: x}]}"), `node "mine" can not create pods that reference secrets or configmaps`},
		{"with a ConfigMap", admission.Create, "pods", "", "prod/m", nil, mirror("spec: {nodeName: mine, volumes: [{name: v, configMap: {name: x}}]}"), `node "mine" can not create pods that reference secrets or configmaps`},
		{"with a claim", admission.Create, "pods", "", "prod/m", nil, mirror("spec: {nodeName: mine, volumes: [{name: v, persistentVolumeClaim: {claimName: x}}]}"), "can not create pods that reference persistentvolumeclaims or service account tokens"},
		{"with a token", admission.Create, "pods", "", "prod/m", nil, mirror("spec: {nodeName: mine, volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: x}}]}}]}"), "can not create pods that reference persistentvolumeclaims or service account tokens"},

		{"delete its own", admission.Delete, "pods", "", "prod/mine", own, nil, ""},
		{"delete another's", admission.Delete, "pods", "", "prod/other", other, nil, `node "mine" can only delete pods with spec.nodeName set to itself`},
		{"delete none", admission.Delete, "pods", "", "prod/none", nil, nil, `pods "none" not found`},
		{"change its own", admission.Update, "pods", "", "prod/mine", own, own, `unexpected operation "UPDATE"`},
		{"status of its own", admission.Update, "pods", "status", "prod/mine", own, own, ""},
		{"status of another's", admission.Update, "pods", "status", "prod/other", other, other, update},
		{"labels through the status", admission.Update, "pods", "status", "prod/mine", own, labelled, `node "mine" cannot update labels through pod status`},
		{"evict its own", admission.Create, "pods", "eviction", "prod/mine", nil, &policyv1.Eviction{}, ""},
		{"evict another's", admission.Create, "pods", "eviction", "prod/other", nil, &policyv1.Eviction{}, "node mine can only evict pods with spec.nodeName set to itself"},
		{"evict another's, named inside", admission.Create, "pods", "eviction", "prod/", nil, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, "node mine can only evict pods with spec.nodeName set to itself"},
		{"bind", admission.Create, "pods", "binding", "prod/mine", nil, &corev1.Binding{}, `unexpected pod subresource "binding", only 'status' and 'eviction' are allowed`},
	})
}

func TestRestrictNodes(t *testing.T) {
	node := func(name, further string) *corev1.Node {
		return object[corev1.Node](t, "metadata: {name: "+name+further)
	}
	plain := node("mine", "}")
	modify := func(what string) string { return `node "mine" is not allowed to modify ` + what }
	check(t, nodeauth.Restriction{}, []write{
		{"itself", admission.Create, "nodes", "", "/mine", nil, node("mine", ", labels: {kubernetes.io/hostname: mine, disk: fast, node.kubernetes.io/x: y, topology.kubernetes.io/zone: a}}"), ""},
		{"itself, name in the object", admission.Create, "nodes", "", "/", nil, plain, ""},
		{"another", admission.Create, "nodes", "", "/other", nil, node("other", "}"), modify(`node "other"`)},
		{"with a label that it may not have", admission.Create, "nodes", "", "/mine", nil, node("mine", ", labels: {node-restriction.kubernetes.io/trusted: y, node-role.kubernetes.io/x: y}}"), `node "mine" is not allowed to set the following labels: node-restriction.kubernetes.io/trusted, node-role.kubernetes.io/x`},
		{"its status", admission.Update, "nodes", "status", "/mine", plain, plain, ""},
		{"status of another", admission.Update, "nodes", "status", "/other", node("other", "}"), node("other", "}"), modify(`node "other"`)},
		{"a label", admission.Update, "nodes", "", "/mine", plain, node("mine", ", labels: {disk: slow}}"), ""},
		{"a label of trust", admission.Update, "nodes", "", "/mine", plain, node("mine", ", labels: {pci.node-restriction.kubernetes.io/x: y}}"), "is not allowed to modify labels: pci.node-restriction.kubernetes.io/x"},
		{"without its label of trust", admission.Update, "nodes", "", "/mine", node("mine", ", labels: {node-restriction.kubernetes.io/x: y}}"), plain, "is not allowed to modify labels: node-restriction.kubernetes.io/x"},
		{"a label of trust through the status", admission.Update, "nodes", "status", "/mine", plain, node("mine", ", labels: {x.k8s.io/y: z}}"), "is not allowed to modify labels: x.k8s.io/y"},
		{"a taint", admission.Update, "nodes", "", "/mine", plain, object[corev1.Node](t, "{metadata: {name: mine}, spec: {taints: [{key: a, effect: NoSchedule}]}}"), modify("taints")},
		{"an owner", admission.Update, "nodes", "", "/mine", plain, node("mine", ", ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]}"), modify("ownerReferences")},
		{"the end of another", admission.Delete, "nodes", "", "/other", node("other", "}"), nil, modify(`node "other"`)},
	})
}

func TestRestrictLeasesAndTokens(t *testing.T) {
	own, other := podOf(t, "mine", everything), podOf(t, "other", everything)
	r := nodeauth.Restriction{Graph: newGraph(t, []runtime.Object{own, other}), Audience: api}
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	token := func(ref string, audiences ...string) *authenticationv1.TokenRequest {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		if ref != "" {
			request.Spec.BoundObjectRef = object[authenticationv1.BoundObjectReference](t, ref)
		}
		return request
	}
	const bound = "{apiVersion: v1, kind: Pod, name: mine, uid: uid-of-mine}"
	const unbound = "node requested token not bound to a pod"
	nobody := func(audience string) string {
		return `audience "` + audience + `" not found in pod spec volume, system:node:mine is not authorized to request tokens for this audience`
	}
	check(t, r, []write{
		{"its Lease", admission.Create, "coordination.k8s.io/leases", "", "kube-node-lease/", nil, lease("mine"), ""},
		{"another's Lease", admission.Create, "coordination.k8s.io/leases", "", "kube-node-lease/", nil, lease("other"), "can only access node lease with the same name as the requesting node"},
		{"a Lease elsewhere", admission.Update, "coordination.k8s.io/leases", "", "kube-system/mine", lease("mine"), lease("mine"), `can only access leases in the "kube-node-lease" system namespace`},

		{"for its Pod", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token(bound), ""},
		{"for its Pod and the API", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token(bound, api), ""},
		{"for its Pod and whom that asked for", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token(bound, "vault"), ""},
		{"for somebody else", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token(bound, "bank"), nobody("bank")},
		{"for two", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token(bound, api, "vault"), "node may only request 0 or 1 audiences"},
		{"bound to nothing", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token(""), unbound},
		{"bound to a Secret", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token("{apiVersion: v1, kind: Secret, name: x, uid: y}"), unbound},
		{"without a UID", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token("{apiVersion: v1, kind: Pod, name: mine}"), "node requested token with a pod binding without a uid"},
		{"for a Pod that was before", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token("{apiVersion: v1, kind: Pod, name: mine, uid: old}"), "The object might have been deleted and then recreated"},
		{"for another's Pod", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token("{apiVersion: v1, kind: Pod, name: other, uid: uid-of-other}"), "node requested token bound to a pod scheduled on a different node"},
		{"for no Pod", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token("{apiVersion: v1, kind: Pod, name: none, uid: x}"), `pods "none" not found`},
	})
	plain := podOf(t, "mine", "{serviceAccountName: robot}")
	r.Graph = newGraph(t, []runtime.Object{plain})
	check(t, r, []write{
		{"for a Pod that asked for none", admission.Create, "serviceaccounts", "token", "prod/robot", nil, token(bound), nobody("")},
	})
}
