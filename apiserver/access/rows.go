package access

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/duetk8s/duet/apiserver/resource"
)

// Complete gives the rows of roles and bindings in table what this package knows of them: Name,
// Begin, Default and Validate. Other rows stay as they are.
func (g *Guard) Complete(table []resource.Resource) {
	for i := range table {
		row := &table[i]
		if row.Group != rbacv1.GroupName {
			continue
		}
		row.Name = Name
		switch row.Kind {
		case "Role":
			row.Begin, row.Validate = g.BeginRole, ValidateRole
		case "ClusterRole":
			row.Begin, row.Validate = g.BeginClusterRole, ValidateClusterRole
		case "RoleBinding":
			row.Begin, row.Validate, row.Default = g.BeginRoleBinding, ValidateRoleBinding, DefaultRoleBinding
		case "ClusterRoleBinding":
			row.Begin, row.Validate, row.Default = g.BeginClusterRoleBinding, ValidateClusterRoleBinding, DefaultClusterRoleBinding
		}
	}
}
