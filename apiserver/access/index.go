package access

import (
	"cmp"
	"slices"
	"strconv"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/controllers/listen"
)

// Index holds all roles and bindings, arranged by subject. It is a [cache.ResourceEventHandler]:
// add it to the informers of the four kinds. The zero value is not usable; see [NewIndex].
type Index struct {
	mu       sync.RWMutex
	roles    map[objectKey]*roleEntry
	bindings map[objectKey]*bindingEntry
	subjects map[subjectKey]*holdings
}

var _ cache.ResourceEventHandler = (*Index)(nil)

// objectKey names a Role or RoleBinding, or with an empty namespace a ClusterRole or
// ClusterRoleBinding.
type objectKey struct{ namespace, name string }

// subjectKey is a user or a group. A service account is the user it authenticates as.
type subjectKey struct {
	group bool
	name  string
}

// roleEntry and bindingEntry remember whether an informer has confirmed them; see [Index.Seed].
type roleEntry struct {
	*compiledRole
	confirmed bool
}

type bindingEntry struct {
	subjects  []subjectKey
	confirmed bool
}

// grant is one subject of one binding.
type grant struct {
	binding objectKey
	role    objectKey
	// reason is what an allowed request is told, for example
	// `RBAC: allowed by RoleBinding "read/default" of Role "reader" to User "jane"`.
	reason string
}

// holdings are the grants of one subject, each list ordered by binding name.
type holdings struct {
	cluster    []grant
	namespaced map[string][]grant
}

// NewIndex returns an index that knows no role and no binding.
func NewIndex() *Index {
	return &Index{
		roles:    map[objectKey]*roleEntry{},
		bindings: map[objectKey]*bindingEntry{},
		subjects: map[subjectKey]*holdings{},
	}
}

// Seed puts policy into the index before the informers have listed, so that the server can answer
// at once; [Reconcile] returns what to seed. [Index.Confirm] ends that state.
func (x *Index) Seed(policy *Policy) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for obj := range policy.objects() {
		if !x.reported(obj) {
			x.set(obj, false)
		}
	}
}

// Confirm forgets what was seeded and no informer has reported since: it was deleted in between.
// Call it once, when the informers of all four kinds have synced.
func (x *Index) Confirm() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key, role := range x.roles {
		if !role.confirmed {
			delete(x.roles, key)
		}
	}
	for key, binding := range x.bindings {
		if !binding.confirmed {
			x.dropBinding(key)
		}
	}
}

// OnAdd records a role or binding.
func (x *Index) OnAdd(obj any, _ bool) { x.record(obj) }

// OnUpdate records a changed role or binding.
func (x *Index) OnUpdate(_, obj any) { x.record(obj) }

// OnDelete forgets a role or binding.
func (x *Index) OnDelete(obj any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch o := listen.Last(obj).(type) {
	case *rbacv1.ClusterRole:
		delete(x.roles, keyOf(o))
	case *rbacv1.Role:
		delete(x.roles, keyOf(o))
	case *rbacv1.ClusterRoleBinding:
		x.dropBinding(keyOf(o))
	case *rbacv1.RoleBinding:
		x.dropBinding(keyOf(o))
	}
}

func (x *Index) record(obj any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.set(obj, true)
}

func (x *Index) set(obj any, confirmed bool) {
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		x.roles[keyOf(o)] = &roleEntry{compile(o.Rules), confirmed}
	case *rbacv1.Role:
		x.roles[keyOf(o)] = &roleEntry{compile(o.Rules), confirmed}
	case *rbacv1.ClusterRoleBinding:
		x.setBinding(keyOf(o), o.RoleRef, o.Subjects, confirmed)
	case *rbacv1.RoleBinding:
		x.setBinding(keyOf(o), o.RoleRef, o.Subjects, confirmed)
	}
}

// reported says whether an informer has told of obj.
func (x *Index) reported(obj Object) bool {
	switch obj.(type) {
	case *rbacv1.ClusterRole, *rbacv1.Role:
		role := x.roles[keyOf(obj)]
		return role != nil && role.confirmed
	default:
		binding := x.bindings[keyOf(obj)]
		return binding != nil && binding.confirmed
	}
}

func (x *Index) setBinding(key objectKey, ref rbacv1.RoleRef, subjects []rbacv1.Subject, confirmed bool) {
	x.dropBinding(key)
	entry := &bindingEntry{confirmed: confirmed}
	role, known := roleOf(ref, key.namespace)
	for i := range subjects {
		subject, ok := subjectOf(&subjects[i], key.namespace)
		if !ok || !known {
			continue
		}
		entry.subjects = append(entry.subjects, subject)
		held := x.subjects[subject]
		if held == nil {
			held = &holdings{}
			x.subjects[subject] = held
		}
		held.add(grant{binding: key, role: role, reason: reasonFor(key, ref, &subjects[i])})
	}
	x.bindings[key] = entry
}

func (x *Index) dropBinding(key objectKey) {
	entry := x.bindings[key]
	if entry == nil {
		return
	}
	delete(x.bindings, key)
	for _, subject := range entry.subjects {
		if held := x.subjects[subject]; held != nil && held.drop(key) {
			delete(x.subjects, subject)
		}
	}
}

func (h *holdings) add(g grant) {
	list := h.in(g.binding.namespace)
	at, _ := slices.BinarySearchFunc(list, g, func(a, b grant) int {
		return cmp.Compare(a.binding.name, b.binding.name)
	})
	h.put(g.binding.namespace, slices.Insert(list, at, g))
}

// drop removes the grants of a binding and reports whether none of any binding is left.
func (h *holdings) drop(binding objectKey) (empty bool) {
	list := slices.DeleteFunc(h.in(binding.namespace), func(g grant) bool { return g.binding == binding })
	h.put(binding.namespace, list)
	return len(h.cluster) == 0 && len(h.namespaced) == 0
}

func (h *holdings) in(namespace string) []grant {
	if namespace == "" {
		return h.cluster
	}
	return h.namespaced[namespace]
}

func (h *holdings) put(namespace string, list []grant) {
	switch {
	case namespace == "":
		h.cluster = list
	case len(list) == 0:
		delete(h.namespaced, namespace)
	default:
		if h.namespaced == nil {
			h.namespaced = map[string][]grant{}
		}
		h.namespaced[namespace] = list
	}
}

// visit calls see for every grant of u: first those that hold everywhere, then those of the
// namespace, if there is one; the user's own before those of the groups. The role is nil where
// the binding refers to none that exists. It stops when see returns false. The caller holds mu.
func (x *Index) visit(u user.Info, namespace string, see func(*grant, *compiledRole) bool) {
	groups := u.GetGroups()
	scopes := []string{"", namespace}
	if namespace == "" {
		scopes = scopes[:1]
	}
	for _, scope := range scopes {
		for i := -1; i < len(groups); i++ {
			key := subjectKey{name: u.GetName()}
			if i >= 0 {
				key = subjectKey{group: true, name: groups[i]}
			}
			held := x.subjects[key]
			if held == nil {
				continue
			}
			list := held.in(scope)
			for j := range list {
				var role *compiledRole
				if entry := x.roles[list[j].role]; entry != nil {
					role = entry.compiledRole
				}
				if !see(&list[j], role) {
					return
				}
			}
		}
	}
}

func keyOf(obj metav1.Object) objectKey {
	return objectKey{obj.GetNamespace(), obj.GetName()}
}

func roleOf(ref rbacv1.RoleRef, namespace string) (objectKey, bool) {
	switch {
	case ref.Kind == "ClusterRole":
		return objectKey{"", ref.Name}, true
	case ref.Kind == "Role" && namespace != "":
		return objectKey{namespace, ref.Name}, true
	}
	return objectKey{}, false
}

// subjectOf: a service account named without a namespace is of the binding's namespace.
func subjectOf(s *rbacv1.Subject, namespace string) (subjectKey, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subjectKey{name: s.Name}, true
	case rbacv1.GroupKind:
		return subjectKey{group: true, name: s.Name}, true
	case rbacv1.ServiceAccountKind:
		if ns := cmp.Or(s.Namespace, namespace); ns != "" {
			return subjectKey{name: serviceaccount.MakeUsername(ns, s.Name)}, true
		}
	}
	return subjectKey{}, false
}

func reasonFor(binding objectKey, ref rbacv1.RoleRef, s *rbacv1.Subject) string {
	kind, name := "ClusterRoleBinding", binding.name
	if binding.namespace != "" {
		kind, name = "RoleBinding", binding.name+"/"+binding.namespace
	}
	subject := s.Name
	if s.Kind == rbacv1.ServiceAccountKind {
		subject += "/" + cmp.Or(s.Namespace, binding.namespace)
	}
	return "RBAC: allowed by " + kind + " " + strconv.Quote(name) + " of " + ref.Kind + " " +
		strconv.Quote(ref.Name) + " to " + s.Kind + " " + strconv.Quote(subject)
}
