package access

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/tools/cache"
)

// world is the bootstrap policy and a few users: jane edits namespace shop, robot (a service
// account of shop) reads one Secret there, auditor views everything, lost is bound to nothing.
func world() *Index {
	x := NewIndex()
	policy := Bootstrap()
	extra := &policyParser{policy: *policy}
	must(extra.parse(`
clusterrole scaler
	get update | *: */scale
clusterrole logs
	get | url: /logs /logs/*
role shop/one-secret
	get watch | secrets = password
bind auditor-views role=view to User auditor
bind logs-for-auditor role=logs to User auditor
bind scalers role=scaler to Group scalers
bind shop/robot role=one-secret to ServiceAccount shop/robot
bind shop/robot-without-namespace role=one-secret to ServiceAccount /automaton
bind gone role=no-such-role to User lost
bind shop/gone role=no-such-role to User lost
`))
	extra.policy.RoleBindings = append(extra.policy.RoleBindings, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "jane-edits"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "jane"}},
	})
	x.Seed(&extra.policy)
	return x
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// who: "name group,group"; a service account is "sa:namespace/name". Everybody is authenticated,
// but system:anonymous.
func who(text string) *user.DefaultInfo {
	name, groups, _ := strings.Cut(text, " ")
	u := &user.DefaultInfo{Name: name}
	if sa, ok := strings.CutPrefix(name, "sa:"); ok {
		namespace, account, _ := strings.Cut(sa, "/")
		u.Name = serviceaccount.MakeUsername(namespace, account)
		u.Groups = serviceaccount.MakeGroupNames(namespace)
	}
	if groups != "" {
		u.Groups = append(u.Groups, strings.Split(groups, ",")...)
	}
	if u.Name == user.Anonymous {
		u.Groups = append(u.Groups, user.AllUnauthenticated)
	} else {
		u.Groups = append(u.Groups, user.AllAuthenticated)
	}
	return u
}

// what: "verb resource[.group][/sub] [name] [-n namespace]" or "verb /path".
func what(u user.Info, text string) authorizer.AttributesRecord {
	words := strings.Fields(text)
	a := authorizer.AttributesRecord{User: u, Verb: words[0]}
	if strings.HasPrefix(words[1], "/") {
		a.Path = words[1]
		return a
	}
	a.ResourceRequest, a.APIVersion = true, "v1"
	resource, sub, _ := strings.Cut(words[1], "/")
	a.Subresource = sub
	a.Resource, a.APIGroup, _ = strings.Cut(resource, ".")
	words = words[2:]
	if len(words) > 0 && words[0] != "-n" {
		a.Name, words = words[0], words[1:]
	}
	if len(words) == 2 {
		a.Namespace = words[1]
	}
	return a
}

func TestAuthorize(t *testing.T) {
	const (
		info  = `yes RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" to Group "system:unauthenticated"`
		edits = `yes RBAC: allowed by RoleBinding "jane-edits/shop" of ClusterRole "edit" to User "jane"`
	)
	authorizer := WithMasters(world())
	for _, row := range []struct{ who, what, want string }{
		{"system:anonymous", "get /healthz", info},
		{"system:anonymous", "get /livez", info},
		{"system:anonymous", "get /readyz", info},
		{"system:anonymous", "get /version", info},
		{"system:anonymous", "post /version", "no"},
		{"system:anonymous", "get /readyz/etcd", "no"},
		{"system:anonymous", "get /metrics", "no"},
		{"system:anonymous", "get /api", "no"},
		{"system:anonymous", "get /apis", "no"},
		{"system:anonymous", "get /openapi/v2", "no"},
		{"system:anonymous", "list pods -n default", "no"},
		{"system:anonymous", "create selfsubjectaccessreviews.authorization.k8s.io", "no"},

		{"boss system:masters", "delete nodes n1", "yes"},
		{"boss system:masters", "get /metrics", "yes"},
		{"kate", "get /apis/apps/v1", `yes RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"`},
		{"kate", "create selfsubjectreviews.authentication.k8s.io", `yes RBAC: allowed by ClusterRoleBinding "system:basic-user" of ClusterRole "system:basic-user" to Group "system:authenticated"`},
		{"kate", "get /metrics", "no"},
		{"kate", "list pods -n shop", "no"},
		{"scraper system:monitoring", "get /metrics", `yes RBAC: allowed by ClusterRoleBinding "system:monitoring" of ClusterRole "system:monitoring" to Group "system:monitoring"`},

		{"jane", "create services -n shop", edits},
		{"jane", "get secrets tls -n shop", edits},
		{"jane", "get pods/log p -n shop", edits},
		{"jane", "create serviceaccounts/token s -n shop", edits},
		{"jane", "update deployments.apps/scale d -n shop", edits},
		{"jane", "create services -n default", "no"},
		{"jane", "list services", "no"},
		{"jane", "create endpoints -n shop", "no"},
		{"jane", "update pods/status p -n shop", "no"},
		{"jane", "create roles.rbac.authorization.k8s.io -n shop", "no"},
		{"jane", "list servicecidrs.networking.k8s.io", "no"},

		{"auditor", "list pods -n anywhere", `yes RBAC: allowed by ClusterRoleBinding "auditor-views" of ClusterRole "view" to User "auditor"`},
		{"auditor", "list services", `yes RBAC: allowed by ClusterRoleBinding "auditor-views" of ClusterRole "view" to User "auditor"`},
		{"auditor", "list secrets -n shop", "no"},
		{"auditor", "list ipaddresses.networking.k8s.io", "no"},
		{"auditor", "get /logs/api", `yes RBAC: allowed by ClusterRoleBinding "logs-for-auditor" of ClusterRole "logs" to User "auditor"`},
		{"auditor", "get /logsx", "no"},

		{"sam scalers", "update widgets.example.com/scale w -n shop", `yes RBAC: allowed by ClusterRoleBinding "scalers" of ClusterRole "scaler" to Group "scalers"`},
		{"sam scalers", "update widgets.example.com w -n shop", "no"},

		{"sa:shop/robot", "get secrets password -n shop", `yes RBAC: allowed by RoleBinding "robot/shop" of Role "one-secret" to ServiceAccount "robot/shop"`},
		{"sa:shop/robot", "get secrets other -n shop", "no"},
		{"sa:shop/robot", "list secrets -n shop", "no"},
		{"sa:other/robot", "get secrets password -n shop", "no"},
		{"sa:shop/automaton", "get secrets password -n shop", `yes RBAC: allowed by RoleBinding "robot-without-namespace/shop" of Role "one-secret" to ServiceAccount "automaton/shop"`},
		{"sa:shop/robot", "get /openid/v1/jwks", `yes RBAC: allowed by ClusterRoleBinding "system:service-account-issuer-discovery" of ClusterRole "system:service-account-issuer-discovery" to Group "system:serviceaccounts"`},

		{"lost", "list pods", `no RBAC: clusterrole.rbac.authorization.k8s.io "no-such-role" not found`},
		{"lost", "list pods -n shop", `no RBAC: [clusterrole.rbac.authorization.k8s.io "no-such-role" not found, role.rbac.authorization.k8s.io "no-such-role" not found]`},

		{"sa:kube-system/service-cidrs-controller", "update servicecidrs.networking.k8s.io/status c", `yes RBAC: allowed by ClusterRoleBinding "system:controller:service-cidrs-controller" of ClusterRole "system:controller:service-cidrs-controller" to ServiceAccount "service-cidrs-controller/kube-system"`},
		{"sa:kube-system/service-cidrs-controller", "delete servicecidrs.networking.k8s.io c", "no"},
		{"sa:kube-system/service-cidrs-controller", "create servicecidrs.networking.k8s.io", "no"},
		{"sa:kube-system/service-cidrs-controller", "delete ipaddresses.networking.k8s.io a", "no"},
		{"system:kube-proxy", "watch servicecidrs.networking.k8s.io", `yes RBAC: allowed by ClusterRoleBinding "system:node-proxier" of ClusterRole "system:node-proxier" to User "system:kube-proxy"`},
		{"system:node:n1 system:nodes", "get secrets password -n shop", "no"},
	} {
		t.Run(row.who+" "+row.what, func(t *testing.T) {
			decision, reason, err := authorizer.Authorize(t.Context(), what(who(row.who), row.what))
			if got := verdict(decision, reason, err); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func verdict(decision authorizer.Decision, reason string, err error) string {
	answer := map[authorizer.Decision]string{authorizer.DecisionAllow: "yes", authorizer.DecisionNoOpinion: "no"}[decision]
	if err != nil {
		answer += " error: " + err.Error()
	}
	return strings.TrimSpace(answer + " " + reason)
}

// TestIndexFollows plays events into the index and asks after each.
func TestIndexFollows(t *testing.T) {
	x := NewIndex()
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}},
	}
	binding := func(users ...string) *rbacv1.RoleBinding {
		b := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"},
			RoleRef:    rbacv1.RoleRef{Kind: "Role", Name: "r"},
		}
		for _, name := range users {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: rbacv1.UserKind, Name: name})
		}
		return b
	}
	narrowed := role.DeepCopy()
	narrowed.Rules[0].Resources = []string{"services"}
	for _, step := range []struct {
		name string
		do   func()
		want string // who may get pods
	}{
		{"nothing", func() {}, ""},
		{"binding without its role", func() { x.OnAdd(binding("ann", "bob", "bob"), true) }, ""},
		{"role", func() { x.OnAdd(role, true) }, "ann bob"},
		{"other subjects", func() { x.OnUpdate(nil, binding("bob", "cy")) }, "bob cy"},
		{"role narrowed", func() { x.OnUpdate(role, narrowed) }, ""},
		{"role as before", func() { x.OnUpdate(narrowed, role) }, "bob cy"},
		{"role deleted", func() { x.OnDelete(cache.DeletedFinalStateUnknown{Obj: role}) }, ""},
		{"role again", func() { x.OnAdd(role, false) }, "bob cy"},
		{"binding deleted", func() { x.OnDelete(binding()) }, ""},
		{"seeded", func() { x.Seed(&Policy{RoleBindings: []*rbacv1.RoleBinding{binding("ann")}}) }, "ann"},
		{"confirmed without the binding", x.Confirm, ""},
	} {
		step.do()
		var may []string
		for _, name := range []string{"ann", "bob", "cy"} {
			decision, _, _ := x.Authorize(context.Background(), what(who(name), "get pods p -n shop"))
			if decision == authorizer.DecisionAllow {
				may = append(may, name)
			}
		}
		if got := strings.Join(may, " "); got != step.want {
			t.Errorf("%s: %q may get pods, want %q", step.name, got, step.want)
		}
	}
	if len(x.subjects) != 0 || len(x.bindings) != 0 {
		t.Errorf("left behind: %v %v", x.subjects, x.bindings)
	}
}

// BenchmarkAuthorize asks with the bootstrap policy and 1,000 more bindings, each to a user and a
// role of its own.
func BenchmarkAuthorize(b *testing.B) {
	x := world()
	for i := range 1000 {
		var p policyParser
		must(p.parse(fmt.Sprintf("clusterrole r%d\n\tread | pods services\nbind b%d role=r%d to User u%d\n", i, i, i, i)))
		x.Seed(&p.policy)
	}
	for _, row := range []struct{ name, who, what string }{
		{"allowed", "u500 team-a,team-b", "get pods p -n shop"},
		{"subresource", "jane team-a,team-b", "get pods/log p -n shop"},
		{"denied", "u500 team-a,team-b", "delete nodes n"},
		{"path", "u500", "get /apis"},
	} {
		attributes := what(who(row.who), row.what)
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = x.Authorize(b.Context(), &attributes)
			}
		})
	}
}

// TestIndexConcurrently is for the race detector: questions while roles and bindings change.
func TestIndexConcurrently(t *testing.T) {
	x := world()
	policy := Bootstrap()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				_, _, _ = x.Authorize(t.Context(), what(who("kate"), "get /apis"))
				_, _, _, _ = x.RulesFor(t.Context(), who("auditor"), "shop")
			}
		})
	}
	group.Go(func() {
		for obj := range policy.objects() {
			x.OnDelete(obj)
			x.OnAdd(obj, false)
		}
	})
	group.Wait()
}
