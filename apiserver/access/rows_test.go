package access

import (
	"testing"

	"github.com/duetk8s/duet/apiserver/resource"
)

func TestComplete(t *testing.T) {
	table := []resource.Resource{
		{Group: "", Kind: "Role"},
		{Group: "rbac.authorization.k8s.io", Kind: "Role"},
		{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"},
		{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"},
		{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"},
	}
	guarded().Complete(table)
	for i, row := range table {
		ours, binding := i > 0, i > 2
		if (row.Begin != nil) != ours || (row.Validate != nil) != ours || (row.Name != nil) != ours || (row.Default != nil) != binding {
			t.Errorf("row %d, %s: %+v", i, row.Kind, row)
		}
	}
}
