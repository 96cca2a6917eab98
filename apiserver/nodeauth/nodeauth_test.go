package nodeauth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/duetk8s/duet/apiserver/access"
	"github.com/duetk8s/duet/apiserver/nodeauth"
	"github.com/duetk8s/duet/test/background"
)

// podOf reads the spec of a Pod that is called like its node, "mine" or "other".
func podOf(t *testing.T, node, spec string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: node, Namespace: "prod", UID: types.UID("uid-of-" + node)}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	p.Spec.NodeName = node
	return p
}

// newGraph has the objects in its informer, but for those that only the API knows.
func newGraph(t *testing.T, known []runtime.Object, later ...runtime.Object) *nodeauth.Graph {
	t.Helper()
	client := fake.NewClientset(known...)
	client.PrependReactor("list", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		node, asked := a.(clienttesting.ListAction).GetListRestrictions().Fields.RequiresExactMatch("spec.nodeName")
		if !asked {
			return false, nil, nil
		}
		all, err := client.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), a.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		list := all.(*corev1.PodList)
		list.Items = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.Spec.NodeName != node })
		return true, list, nil
	})
	shared := informers.NewSharedInformerFactory(client, 0)
	graph, err := nodeauth.NewGraph(shared.Core().V1().Pods(), client)
	if err != nil {
		t.Fatal(err)
	}
	background.Synced(t, shared)()
	for _, o := range later {
		if err := client.Tracker().Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return graph
}

// everything is a Pod that refers to one object in each way that there is.
const everything = `
serviceAccountName: robot
imagePullSecrets: [{name: pull}]
volumes:
- {name: a, secret: {secretName: volume}}
- {name: b, configMap: {name: volume}}
- {name: c, persistentVolumeClaim: {claimName: disk}}
- {name: scratch, ephemeral: {volumeClaimTemplate: {spec: {}}}}
- name: d
  projected:
    sources:
    - {secret: {name: projected}}
    - {configMap: {name: projected}}
    - {serviceAccountToken: {path: token}}
    - {serviceAccountToken: {path: vault, audience: vault}}
initContainers:
- {name: i, env: [{name: A, valueFrom: {secretKeyRef: {name: init, key: k}}}], envFrom: [{configMapRef: {name: init}}]}
containers:
- {name: c, env: [{name: A, valueFrom: {configMapKeyRef: {name: env, key: k}}}], envFrom: [{secretRef: {name: env}}]}
ephemeralContainers:
- {name: e, env: [{name: A, valueFrom: {secretKeyRef: {name: debug, key: k}}}]}
`

// TestAuthorize asks, as node "mine", for what its own Pod uses, what another's uses, and the rest.
func TestAuthorize(t *testing.T) {
	claimed := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "claimed"},
		Spec:       corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "prod", Name: "disk"}},
	}
	foreign := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "foreign"},
		Spec:       corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "prod", Name: "theirs"}},
	}
	theirs := podOf(t, "other", `{serviceAccountName: theirs, volumes: [{name: a, secret: {secretName: theirs}}, {name: b, configMap: {name: theirs}}, {name: c, persistentVolumeClaim: {claimName: theirs}}]}`)
	bound := podOf(t, "mine", `{volumes: [{name: a, secret: {secretName: bound}}]}`)
	bound.Name = "bound"
	graph := newGraph(t, []runtime.Object{podOf(t, "mine", everything), theirs, claimed, foreign}, bound)
	z := &nodeauth.Authorizer{Rules: access.NodeRules(), Graph: graph}
	const noRelation = "no relationship found between node 'mine' and this object"

	for _, tt := range []struct{ request, want string }{ // "": allowed
		{"get prod secrets volume", ""},
		{"get prod secrets pull", ""},
		{"get prod secrets projected", ""},
		{"get prod secrets init", ""},
		{"get prod secrets env", ""},
		{"get prod secrets debug", ""},
		{"list prod secrets volume", ""},
		{"watch prod secrets volume", ""},
		{"get prod secrets bound", ""}, // of a Pod that was bound a moment ago
		{"get prod secrets theirs", noRelation},
		{"get prod secrets nobody", noRelation},
		{"get dev secrets volume", noRelation}, // the same name in another namespace
		{"list prod secrets", "can only read namespaced object of this type"},
		{"list - secrets", "can only read namespaced object of this type"},
		{"update prod secrets volume", "can only read resources of this type"},
		{"create prod secrets", "can only read resources of this type"},
		{"delete prod secrets volume", "can only read resources of this type"},

		{"get prod configmaps volume", ""},
		{"get prod configmaps projected", ""},
		{"get prod configmaps init", ""},
		{"watch prod configmaps env", ""},
		{"get prod configmaps pull", noRelation}, // that is a Secret
		{"get prod configmaps theirs", noRelation},
		{"list prod configmaps", "can only read namespaced object of this type"},
		{"patch prod configmaps volume", "can only read resources of this type"},

		{"get prod serviceaccounts robot", ""},
		{"get prod serviceaccounts theirs", noRelation},
		{"create prod serviceaccounts/token robot", ""},
		{"create prod serviceaccounts/token theirs", noRelation},
		{"get prod serviceaccounts/token robot", "can only create tokens for individual service accounts"},

		{"get prod persistentvolumeclaims disk", ""},
		{"get prod persistentvolumeclaims mine-scratch", ""},
		{"get prod persistentvolumeclaims theirs", noRelation},
		{"patch prod persistentvolumeclaims/status disk", ""},
		{"patch prod persistentvolumeclaims/status theirs", noRelation},
		{"delete prod persistentvolumeclaims/status disk", "can only get/update/patch this type"},
		{"get - persistentvolumes claimed", ""},
		{"get - persistentvolumes foreign", noRelation},
		{"get - persistentvolumes none", noRelation},
		{"list - persistentvolumes", "can only get individual resources of this type"},

		{"get prod pods mine", ""},
		{"get prod pods other", noRelation},
		{"list - pods spec.nodeName=mine", ""},
		{"watch - pods spec.nodeName=mine", ""},
		{"list - pods spec.nodeName=other", "can only list/watch pods with spec.nodeName field selector"},
		{"list - pods spec.nodeName!=other", "can only list/watch pods with spec.nodeName field selector"},
		{"list prod pods", "can only list/watch pods with spec.nodeName field selector"},
		{"patch prod pods/status mine", ""}, // whose it is, admission looks at
		{"create prod pods/exec mine", "no"},
		{"create prod pods/binding mine", "no"},
		{"update prod pods mine", "no"},

		{"get - nodes other", ""},
		{"list - nodes", ""},
		{"patch - nodes/status mine", ""},
		{"delete - nodes other", "no"},
		{"list - services", ""},
		{"watch - discovery.k8s.io/endpointslices", "no"}, // a role's business: the proxy needs them
		{"create - services", "no"},
		{"list - clusterroles", "no"},
		{"create - certificates.k8s.io/certificatesigningrequests", ""},
		{"update - certificates.k8s.io/certificatesigningrequests/approval x", "no"},

		{"update kube-node-lease coordination.k8s.io/leases mine", ""},
		{"create kube-node-lease coordination.k8s.io/leases", ""},
		{"update kube-node-lease coordination.k8s.io/leases other", "can only access node lease with the same name as the requesting node"},
		{"get kube-system coordination.k8s.io/leases mine", `can only access leases in the "kube-node-lease" system namespace`},
	} {
		decision, reason, err := z.Authorize(t.Context(), attributes(t, tt.request))
		got := reason
		switch {
		case err != nil:
			got = "error: " + err.Error()
		case decision == authorizer.DecisionAllow:
			got = ""
		case got == "":
			got = "no"
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.request, got, tt.want)
		}
	}
}

// attributes reads "VERB NAMESPACE|- [GROUP/]RESOURCE[/SUBRESOURCE] [NAME|FIELD=VALUE]", asked by node "mine".
func attributes(t *testing.T, text string) authorizer.Attributes {
	t.Helper()
	words := strings.Fields(text)
	a := authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: "system:node:mine", Groups: []string{user.NodesGroup}},
		Verb: words[0], Namespace: strings.TrimPrefix(words[1], "-"), ResourceRequest: true,
	}
	path := strings.Split(words[2], "/")
	if strings.Contains(path[0], ".") {
		a.APIGroup, path = path[0], path[1:]
	}
	a.Resource = path[0]
	if len(path) > 1 {
		a.Subresource = path[1]
	}
	if len(words) < 4 {
		return a
	}
	if field, value, ok := strings.Cut(words[3], "!="); ok {
		a.FieldSelectorRequirements = fields.Requirements{{Field: field, Operator: selection.NotEquals, Value: value}}
	} else if field, value, ok := strings.Cut(words[3], "="); ok {
		a.FieldSelectorRequirements = fields.Requirements{{Field: field, Operator: selection.Equals, Value: value}}
	} else {
		a.Name = words[3]
	}
	return a
}

// TestNodeOf: only a user of the right name in the right group is a node.
func TestNodeOf(t *testing.T) {
	for _, tt := range []struct {
		user user.Info
		want string
	}{
		{&user.DefaultInfo{Name: "system:node:a", Groups: []string{user.NodesGroup}}, "a true"},
		{&user.DefaultInfo{Name: "system:node:a.example", Groups: []string{"x", user.NodesGroup}}, "a.example true"},
		{&user.DefaultInfo{Name: "system:node:a"}, " false"},
		{&user.DefaultInfo{Name: "system:node:", Groups: []string{user.NodesGroup}}, " false"},
		{&user.DefaultInfo{Name: "a", Groups: []string{user.NodesGroup}}, " false"},
		{nil, " false"},
	} {
		name, ok := nodeauth.NodeOf(tt.user)
		if got := fmt.Sprint(name, " ", ok); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.user, got, tt.want)
		}
	}
}
