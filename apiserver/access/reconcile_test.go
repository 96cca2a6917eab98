package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// memory is a Store that keeps objects in a map and writes down what it was told to write.
type memory struct {
	mu      sync.Mutex
	objects map[kindKey]Object
	log     []string
	lists   int
	// fail, if not nil, is the error of the next Write.
	fail error
}

func newMemory(objects ...Object) *memory {
	m := &memory{objects: map[kindKey]Object{}}
	for _, obj := range objects {
		m.objects[kindKey{kindOf(obj), keyOf(obj)}] = obj
	}
	return m
}

func (m *memory) List(context.Context) (*Policy, error) {
	m.lists++
	p := &Policy{}
	for _, obj := range m.objects {
		p.add(obj.DeepCopyObject().(Object))
	}
	return p, nil
}

func (m *memory) Write(ctx context.Context, changes []Change) error {
	if u, ok := genericapirequest.UserFrom(ctx); !ok || u.GetName() != "system:apiserver" || !isMaster(u) {
		return fmt.Errorf("written as %v", u)
	}
	if err := m.fail; err != nil {
		m.fail = nil
		return err
	}
	return WriteEach(ctx, changes, 4, func(_ context.Context, change Change) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		key := kindKey{kindOf(change.New), keyOf(change.New)}
		if exists := m.objects[key] != nil; exists != (change.Operation != Create) {
			return fmt.Errorf("%s of %v, which exists: %v", change.Operation, key, exists)
		}
		m.objects[key] = change.New
		m.log = append(m.log, fmt.Sprintf("%s %s %s", change.Operation, key.kind, key.name))
		return nil
	})
}

func (m *memory) clusterRole(name string) *rbacv1.ClusterRole {
	return m.objects[kindKey{"ClusterRole", objectKey{"", name}}].(*rbacv1.ClusterRole)
}

func (m *memory) clusterRoleBinding(name string) *rbacv1.ClusterRoleBinding {
	return m.objects[kindKey{"ClusterRoleBinding", objectKey{"", name}}].(*rbacv1.ClusterRoleBinding)
}

func TestReconcileFreshThenAgain(t *testing.T) {
	store := newMemory()
	all, err := Reconcile(t.Context(), store, Bootstrap())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(store.log), len(index(Bootstrap())); got != want || len(index(all)) != want {
		t.Errorf("wrote %d and returned %d of %d objects", got, len(index(all)), want)
	}
	store.log, store.lists = nil, 0
	if _, err = Reconcile(t.Context(), store, Bootstrap()); err != nil {
		t.Fatal(err)
	}
	if len(store.log) > 0 || store.lists != 1 {
		t.Errorf("second time: listed %d times, wrote %q", store.lists, store.log)
	}
}

// TestReconcileRepairs damages a complete policy and says what is written.
func TestReconcileRepairs(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(*memory)
		want   string
		check  func(*memory) bool
	}{
		{
			"role deleted",
			func(m *memory) { delete(m.objects, kindKey{"ClusterRole", objectKey{"", "system:discovery"}}) },
			"create ClusterRole system:discovery", nil,
		},
		{
			"rules removed",
			func(m *memory) { m.clusterRole("system:discovery").Rules = nil },
			"update ClusterRole system:discovery",
			func(m *memory) bool { return len(m.clusterRole("system:discovery").Rules) > 0 },
		},
		{
			"rules removed, autoupdate=false",
			func(m *memory) {
				m.clusterRole("system:discovery").Rules = nil
				m.clusterRole("system:discovery").Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
			},
			"", nil,
		},
		{
			"rules added",
			func(m *memory) {
				role := m.clusterRole("system:discovery")
				role.Rules = append(role.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}})
			},
			"", nil,
		},
		{
			"label removed",
			func(m *memory) { m.clusterRole("system:discovery").Labels = map[string]string{"mine": "kept"} },
			"update ClusterRole system:discovery",
			func(m *memory) bool { return len(m.clusterRole("system:discovery").Labels) == 2 },
		},
		{
			"aggregated rules differ",
			func(m *memory) { m.clusterRole("view").Rules = m.clusterRole("view").Rules[:1] },
			"", nil,
		},
		{
			"aggregation rule removed",
			func(m *memory) { m.clusterRole("view").AggregationRule = nil },
			"update ClusterRole view",
			func(m *memory) bool { return m.clusterRole("view").AggregationRule != nil },
		},
		{
			"subject removed, another added",
			func(m *memory) {
				m.clusterRoleBinding("cluster-admin").Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "eve"}}
			},
			"update ClusterRoleBinding cluster-admin",
			func(m *memory) bool { return len(m.clusterRoleBinding("cluster-admin").Subjects) == 2 },
		},
		{
			"bound to another role",
			func(m *memory) { m.clusterRoleBinding("system:basic-user").RoleRef.Name = "cluster-admin" },
			"recreate ClusterRoleBinding system:basic-user",
			func(m *memory) bool {
				return m.clusterRoleBinding("system:basic-user").RoleRef.Name == "system:basic-user"
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := newMemory(slices.Collect(Bootstrap().objects())...)
			row.damage(store)
			if _, err := Reconcile(t.Context(), store, Bootstrap()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(store.log, ", "); got != row.want {
				t.Errorf("wrote %q, want %q", got, row.want)
			}
			if row.check != nil && !row.check(store) {
				t.Error("not repaired")
			}
		})
	}
}

func TestReconcileRetries(t *testing.T) {
	store := newMemory()
	store.fail = apierrors.NewAlreadyExists(rbacv1.Resource("clusterroles"), "view")
	if _, err := Reconcile(t.Context(), store, Bootstrap()); err != nil {
		t.Errorf("another server was faster: %v", err)
	}
	store = newMemory()
	store.fail = fmt.Errorf("disk full")
	_, err := Reconcile(t.Context(), store, Bootstrap())
	if want := "write bootstrap roles and bindings: disk full"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func BenchmarkBootstrap(b *testing.B) {
	for b.Loop() {
		Bootstrap()
	}
}

func BenchmarkPlanNothing(b *testing.B) {
	want, have := Bootstrap(), Bootstrap()
	for b.Loop() {
		if changes, err := Plan(have, want); err != nil || len(changes) > 0 {
			b.Fatal(changes, err)
		}
	}
}
