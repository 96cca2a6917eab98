package access

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// compiledRole is the rules of a role, arranged by what a request asks for.
type compiledRole struct {
	rules      []rbacv1.PolicyRule             // as stored; never changed
	byResource map[string][]*rbacv1.PolicyRule // "pods", "pods/log", "*/scale", "*"
	urls       []*rbacv1.PolicyRule
}

func compile(rules []rbacv1.PolicyRule) *compiledRole {
	c := &compiledRole{rules: rules}
	for i := range rules {
		rule := &rules[i]
		if len(rule.NonResourceURLs) > 0 {
			c.urls = append(c.urls, rule)
		}
		for _, resource := range rule.Resources {
			if c.byResource == nil {
				c.byResource = map[string][]*rbacv1.PolicyRule{}
			}
			c.byResource[resource] = append(c.byResource[resource], rule)
		}
	}
	return c
}

// question is a request in the form that rules are matched against.
type question struct {
	verb, group, name string
	// resource is "pods" or "pods/log", anySub "*/log" or "".
	resource, anySub string
	// path is set for requests outside the API of resources.
	path       string
	isResource bool
}

func ask(a authorizer.Attributes) question {
	q := question{verb: a.GetVerb(), isResource: a.IsResourceRequest()}
	if !q.isResource {
		q.path = a.GetPath()
		return q
	}
	q.group, q.resource, q.name = a.GetAPIGroup(), a.GetResource(), a.GetName()
	if sub := a.GetSubresource(); sub != "" {
		q.resource, q.anySub = q.resource+"/"+sub, "*/"+sub
	}
	return q
}

func (c *compiledRole) allows(q *question) bool {
	if !q.isResource {
		return slices.ContainsFunc(c.urls, q.matchesURL)
	}
	return slices.ContainsFunc(c.byResource[q.resource], q.matches) ||
		slices.ContainsFunc(c.byResource[rbacv1.ResourceAll], q.matches) ||
		q.anySub != "" && slices.ContainsFunc(c.byResource[q.anySub], q.matches)
}

// matches compares all of a rule but its resources, which the index has compared. A rule with
// resource names never covers a request that carries none, for example create.
func (q *question) matches(rule *rbacv1.PolicyRule) bool {
	return hasOrAll(rule.Verbs, q.verb) && hasOrAll(rule.APIGroups, q.group) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, q.name))
}

func (q *question) matchesURL(rule *rbacv1.PolicyRule) bool {
	return hasOrAll(rule.Verbs, q.verb) && slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
		return url == q.path || strings.HasSuffix(url, "*") && strings.HasPrefix(q.path, strings.TrimRight(url, "*"))
	})
}

// hasOrAll: "*" stands for everything, for verbs and API groups alike.
func hasOrAll(list []string, s string) bool {
	return slices.Contains(list, s) || slices.Contains(list, rbacv1.VerbAll)
}
