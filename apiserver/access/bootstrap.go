package access

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/apiserver/access/aggregation"
)

// bootstrapFiles hold the bootstrap policy as data, one statement a line:
//
//	clusterrole NAME [joins=ROLE] [gathers=ROLE]     label and aggregation rule aggregate-to-ROLE
//	role NAMESPACE/NAME
//	controller NAME                                  ClusterRole system:controller:NAME, bound to
//	                                                 the service account NAME in kube-system
//	bind [NAMESPACE/]NAME [role=ROLE] to SUBJECT, …  a binding named as its role, unless role= says
//	                                                 otherwise; SUBJECT is a kind and a name, or
//	                                                 ServiceAccount NAMESPACE/NAME, or "nobody"
//
// The rules of a role follow it, indented by a tab:
//
//	VERBS | [GROUP,GROUP:] RESOURCES [= NAMES]       no group: the core group; read, write and all
//	                                                 stand for several verbs
//	VERBS | url: PATHS
//	events                                           may record events
//
//go:embed bootstrap/*.txt
var bootstrapFiles embed.FS

// verbSets are the words that stand for several verbs.
var verbSets = map[string][]string{
	"read":  {"get", "list", "watch"},
	"write": {"create", "update", "patch", "delete", "deletecollection"},
	"all":   {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
}

// Policy is a set of RBAC objects.
type Policy struct {
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	Roles               []*rbacv1.Role
	RoleBindings        []*rbacv1.RoleBinding
}

// Bootstrap returns the roles and bindings that every cluster has, about 120 objects, with the
// rules of aggregated roles filled in. Roles live in kube-system and kube-public, which have to
// exist. The caller owns the result. It panics if the embedded files are wrong, which the golden
// test excludes.
func Bootstrap() *Policy {
	p := &policyParser{}
	files, err := bootstrapFiles.ReadDir("bootstrap")
	for _, file := range files {
		var text []byte
		if text, err = bootstrapFiles.ReadFile("bootstrap/" + file.Name()); err != nil {
			break
		}
		if err = p.parse(string(text)); err != nil {
			err = fmt.Errorf("%s: %w", file.Name(), err)
			break
		}
	}
	if err == nil {
		err = gather(p.policy.ClusterRoles)
	}
	if err != nil {
		panic(fmt.Sprintf("access: bootstrap policy: %v", err))
	}
	return &p.policy
}

// gather fills the rules of aggregated roles. They gather from each other (admin from edit from
// view), so it goes round until nothing changes.
func gather(roles []*rbacv1.ClusterRole) error {
	for range roles {
		changed := false
		for _, role := range roles {
			rules, err := aggregation.Rules(role, roles)
			if err != nil {
				return err
			}
			if aggregation.Differ(role.Rules, rules) {
				role.Rules, changed = rules, true
			}
		}
		if !changed {
			return nil
		}
	}
	return nil
}

// policyParser collects the objects of the files; rules is the list that the next indented line
// extends.
type policyParser struct {
	policy Policy
	rules  *[]rbacv1.PolicyRule
}

func (p *policyParser) parse(text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		var err error
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			err = p.rule(line)
		default:
			err = p.statement(strings.Fields(line))
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func (p *policyParser) statement(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("%q lacks a name", words[0])
	}
	switch words[0] {
	case "clusterrole":
		return p.clusterRole(words[1], words[2:])
	case "controller":
		name := "system:controller:" + words[1]
		if err := p.clusterRole(name, nil); err != nil {
			return err
		}
		return p.binding("", name, name, []string{rbacv1.ServiceAccountKind, "kube-system/" + words[1]})
	case "role":
		namespace, name, _ := strings.Cut(words[1], "/")
		role := &rbacv1.Role{ObjectMeta: bootstrapMeta(namespace, name)}
		p.policy.Roles, p.rules = append(p.policy.Roles, role), &role.Rules
		return nil
	case "bind":
		namespace, name, found := strings.Cut(words[1], "/")
		if !found {
			namespace, name = "", words[1]
		}
		role, words := name, words[2:]
		if len(words) > 0 && strings.HasPrefix(words[0], "role=") {
			role, words = strings.TrimPrefix(words[0], "role="), words[1:]
		}
		if len(words) < 2 || words[0] != "to" {
			return fmt.Errorf("binding %q lacks its subjects", name)
		}
		return p.binding(namespace, name, role, words[1:])
	}
	return fmt.Errorf("unknown statement %q", words[0])
}

func (p *policyParser) clusterRole(name string, options []string) error {
	role := &rbacv1.ClusterRole{ObjectMeta: bootstrapMeta("", name)}
	for _, option := range options {
		word, value, _ := strings.Cut(option, "=")
		label := map[string]string{"rbac.authorization.k8s.io/aggregate-to-" + value: "true"}
		switch word {
		case "joins":
			maps.Copy(role.Labels, label)
		case "gathers":
			role.AggregationRule = &rbacv1.AggregationRule{
				ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: label}},
			}
		default:
			return fmt.Errorf("unknown option %q", option)
		}
	}
	p.policy.ClusterRoles, p.rules = append(p.policy.ClusterRoles, role), &role.Rules
	return nil
}

func (p *policyParser) binding(namespace, name, role string, words []string) error {
	subjects, err := parseSubjects(words)
	if err != nil {
		return err
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	if namespace == "" {
		p.policy.ClusterRoleBindings = append(p.policy.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: bootstrapMeta("", name), RoleRef: ref, Subjects: subjects,
		})
		return nil
	}
	ref.Kind = "Role"
	p.policy.RoleBindings = append(p.policy.RoleBindings, &rbacv1.RoleBinding{
		ObjectMeta: bootstrapMeta(namespace, name), RoleRef: ref, Subjects: subjects,
	})
	return nil
}

func parseSubjects(words []string) ([]rbacv1.Subject, error) {
	if slices.Equal(words, []string{"nobody"}) {
		return nil, nil
	}
	var subjects []rbacv1.Subject
	for i := 0; i+1 < len(words); i += 2 {
		subject := rbacv1.Subject{Kind: words[i], Name: strings.TrimSuffix(words[i+1], ",")}
		switch subject.Kind {
		case rbacv1.UserKind, rbacv1.GroupKind:
			subject.APIGroup = rbacv1.GroupName
		case rbacv1.ServiceAccountKind:
			subject.Namespace, subject.Name, _ = strings.Cut(subject.Name, "/")
		default:
			return nil, fmt.Errorf("unknown kind of subject %q", subject.Kind)
		}
		subjects = append(subjects, subject)
	}
	return subjects, nil
}

func (p *policyParser) rule(line string) error {
	if p.rules == nil {
		return fmt.Errorf("a rule before any role")
	}
	if strings.TrimSpace(line) == "events" {
		line = "create update patch | ,events.k8s.io: events"
	}
	verbs, what, found := strings.Cut(line, "|")
	if !found {
		return fmt.Errorf("a rule without |")
	}
	rule := rbacv1.PolicyRule{}
	for verb := range strings.FieldsSeq(verbs) {
		if set, ok := verbSets[verb]; ok {
			rule.Verbs = append(rule.Verbs, set...)
		} else {
			rule.Verbs = append(rule.Verbs, verb)
		}
	}
	groups, what, found := cutGroups(what)
	what, names, _ := strings.Cut(what, " = ")
	switch {
	case found && groups == "url":
		rule.NonResourceURLs = strings.Fields(what)
	default:
		rule.APIGroups = strings.Split(groups, ",")
		rule.Resources = strings.Fields(what)
		rule.ResourceNames = strings.Fields(names)
	}
	// Sorted, as people know these roles from `kubectl get clusterrole -o yaml`.
	for _, list := range [][]string{rule.Verbs, rule.APIGroups, rule.Resources, rule.ResourceNames, rule.NonResourceURLs} {
		slices.Sort(list)
	}
	if len(rule.ResourceNames) == 0 {
		rule.ResourceNames = nil
	}
	*p.rules = append(*p.rules, rule)
	return nil
}

// cutGroups splits "apps,extensions: deployments" at the colon.
func cutGroups(what string) (groups, rest string, found bool) {
	if groups, rest, found = strings.Cut(what, ": "); found {
		return strings.TrimSpace(groups), rest, true
	}
	return "", what, false
}

// bootstrapMeta marks an object as the server's own; autoupdate=false, set by an administrator,
// keeps it from being repaired at the next start.
func bootstrapMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: namespace,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}
