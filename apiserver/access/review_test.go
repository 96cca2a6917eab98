package access

import (
	"context"
	"errors"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/yaml"
)

func create(ctx context.Context, resource, text string, admit rest.ValidateObjectFunc) (runtime.Object, error) {
	x := world()
	for _, resources := range Reviews(WithMasters(x), x) {
		if storage, ok := resources[resource].(rest.Creater); ok {
			obj := storage.New()
			if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
				return nil, err
			}
			return storage.Create(ctx, obj, admit, nil)
		}
	}
	return nil, errors.New("no such resource")
}

// TestReviews: who asks, what, and the status as JSON or the error.
func TestReviews(t *testing.T) {
	const (
		access = "subjectaccessreviews"
		self   = "selfsubjectaccessreviews"
		local  = "localsubjectaccessreviews"
		rules  = "selfsubjectrulesreviews"
	)
	for _, row := range []struct{ name, who, resource, obj, want string }{
		{
			"can-i, yes", "jane", self, `spec: {resourceAttributes: {verb: create, resource: services, namespace: shop}}`,
			`{"allowed":true,"reason":"RBAC: allowed by RoleBinding \"jane-edits/shop\" of ClusterRole \"edit\" to User \"jane\""}`,
		},
		{"can-i, no", "jane", self, `spec: {resourceAttributes: {verb: create, resource: services, namespace: default}}`, `{"allowed":false}`},
		{"can-i, everything", "boss system:masters", self, `spec: {resourceAttributes: {verb: "*", group: "*", resource: "*"}}`, `{"allowed":true}`},
		{
			"can-i, role missing", "lost", self, `spec: {resourceAttributes: {verb: get, resource: pods}}`,
			`{"allowed":false,"reason":"RBAC: clusterrole.rbac.authorization.k8s.io \"no-such-role\" not found"}`,
		},
		{
			"can-i, path", "kate", self, `spec: {nonResourceAttributes: {verb: get, path: /version}}`,
			`{"allowed":true,"reason":"RBAC: allowed by ClusterRoleBinding \"system:discovery\" of ClusterRole \"system:discovery\" to Group \"system:authenticated\""}`,
		},
		{
			"nothing asked", "kate", self, `spec: {}`,
			`SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified`,
		},
		{
			"both asked", "kate", self, `spec: {nonResourceAttributes: {verb: get, path: /}, resourceAttributes: {verb: get}}`,
			`SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.nonResourceAttributes: Invalid value: {"path":"/","verb":"get"}: cannot be specified in combination with resourceAttributes`,
		},
		{
			"about another", "boss system:masters", access, `spec: {user: jane, resourceAttributes: {verb: get, resource: pods, subresource: log, namespace: shop}}`,
			`{"allowed":true,"reason":"RBAC: allowed by RoleBinding \"jane-edits/shop\" of ClusterRole \"edit\" to User \"jane\""}`,
		},
		{"about a group", "boss system:masters", access, `spec: {groups: [scalers], resourceAttributes: {verb: get, group: apps, resource: deployments, subresource: log}}`, `{"allowed":false}`},
		{
			"about nobody", "boss system:masters", access, `{metadata: {name: x}, spec: {resourceAttributes: {verb: get}}}`,
			`SubjectAccessReview.authorization.k8s.io "" is invalid: [spec.user: Invalid value: "": at least one of user or group must be specified, metadata: Invalid value: {"name":"x"}: must be empty]`,
		},
		{
			"local", "paul", local, `{metadata: {namespace: shop}, spec: {user: jane, resourceAttributes: {verb: get, resource: pods, namespace: shop}}}`,
			`{"allowed":true,"reason":"RBAC: allowed by RoleBinding \"jane-edits/shop\" of ClusterRole \"edit\" to User \"jane\""}`,
		},
		{
			"local, elsewhere", "paul", local, `{metadata: {namespace: shop}, spec: {user: jane, resourceAttributes: {verb: get, resource: pods, namespace: b}}}`,
			`LocalSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "b": must match metadata.namespace`,
		},
		{
			"local, other namespace than the request's", "paul", local, `{metadata: {namespace: b}, spec: {user: jane, resourceAttributes: {verb: get, resource: pods, namespace: b}}}`,
			`spec.resourceAttributes.namespace must match namespace: shop`,
		},
		{
			"local, path", "paul", local, `{metadata: {namespace: shop}, spec: {user: jane, nonResourceAttributes: {verb: get, path: /}}}`,
			`LocalSubjectAccessReview.authorization.k8s.io "" is invalid: spec.nonResourceAttributes: Invalid value: {"path":"/","verb":"get"}: disallowed on this kind of request`,
		},
		{
			"rules", "sa:shop/robot", rules, `spec: {namespace: shop}`,
			`{"incomplete":false,` +
				`"nonResourceRules":[` +
				`{"nonResourceURLs":["/.well-known/openid-configuration","/openid/v1/jwks"],"verbs":["get"]},` +
				`{"nonResourceURLs":["/api","/api/*","/apis","/apis/*","/healthz","/livez","/openapi","/openapi/*","/readyz","/version","/version/"],"verbs":["get"]},` +
				`{"nonResourceURLs":["/healthz","/livez","/readyz","/version","/version/"],"verbs":["get"]}],` +
				`"resourceRules":[` +
				`{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectaccessreviews","selfsubjectrulesreviews"],"verbs":["create"]},` +
				`{"apiGroups":["authentication.k8s.io"],"resources":["selfsubjectreviews"],"verbs":["create"]},` +
				`{"apiGroups":[""],"resourceNames":["password"],"resources":["secrets"],"verbs":["get","watch"]}]}`,
		},
		{"rules of no namespace", "kate", rules, `spec: {}`, `no namespace on request`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := create(request(t.Context(), row.who, row.resource, "shop", ""), row.resource, row.obj, nil)
			if text := statusOf(t, got, err); text != row.want {
				t.Errorf("got  %s\nwant %s", text, row.want)
			}
		})
	}
}

func statusOf(t *testing.T, obj runtime.Object, err error) string {
	t.Helper()
	if err != nil {
		return err.Error()
	}
	var status any
	switch o := obj.(type) {
	case *authorizationv1.SubjectAccessReview:
		status = o.Status
	case *authorizationv1.SelfSubjectAccessReview:
		status = o.Status
	case *authorizationv1.LocalSubjectAccessReview:
		status = o.Status
	case *authorizationv1.SelfSubjectRulesReview:
		status = o.Status
	}
	text, err := yaml.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhoAmI(t *testing.T) {
	ctx := genericapirequest.WithUser(t.Context(), &user.DefaultInfo{
		Name: "jane", UID: "7", Groups: []string{"a"}, Extra: map[string][]string{"k": {"v"}},
	})
	obj, err := create(ctx, "selfsubjectreviews", `{}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	info := obj.(*authenticationv1.SelfSubjectReview).Status.UserInfo
	if info.Username != "jane" || info.UID != "7" || info.Groups[0] != "a" || info.Extra["k"][0] != "v" {
		t.Errorf("got %+v", info)
	}
	if _, err = create(t.Context(), "selfsubjectreviews", `{}`, nil); err == nil || err.Error() != "no user present on request" {
		t.Errorf("without a user: %v", err)
	}
}

func TestReviewIsAdmitted(t *testing.T) {
	refuse := func(context.Context, runtime.Object) error { return errors.New("refused") }
	_, err := create(request(t.Context(), "kate", "", "", ""), "selfsubjectrulesreviews", `spec: {namespace: a}`, refuse)
	if err == nil || err.Error() != "refused" {
		t.Errorf("got %v", err)
	}
}
