package apiserver

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"github.com/duetk8s/duet/apiserver/columns"
	"github.com/duetk8s/duet/apiserver/defaults"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/resource"
)

func certificateRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "certificates.k8s.io", Kind: "CertificateSigningRequest", Plural: "certificatesigningrequests",
			Short:         []string{"csr"},
			ClusterScoped: true,
			New:           newOf[certificatesv1.CertificateSigningRequest], NewList: newOf[certificatesv1.CertificateSigningRequestList],
			Name:    pathSegment,
			Prepare: preparing(kinds.PrepareCertificateSigningRequest), PrepareStatus: preparing(kinds.PrepareSigning),
			Validate: validating(kinds.ValidateCertificateSigningRequest), ValidateStatus: validating(kinds.ValidateSigning),
			Fields:  selecting(kinds.CertificateSigningRequestFields),
			Columns: columns.CertificateSigningRequest(),
		},
	}
}

func coordinationRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "coordination.k8s.io", Kind: "Lease", Plural: "leases",
			New: newOf[coordinationv1.Lease], NewList: newOf[coordinationv1.LeaseList],
			NoStatus: true, CreateOnUpdate: true,
			Validate: validating(kinds.ValidateLease),
			Columns:  columns.Lease(),
		},
	}
}

func nodeRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "node.k8s.io", Kind: "RuntimeClass", Plural: "runtimeclasses",
			ClusterScoped: true,
			New:           newOf[nodev1.RuntimeClass], NewList: newOf[nodev1.RuntimeClassList],
			NoStatus: true,
			Validate: validating(kinds.ValidateRuntimeClass),
			Columns:  columns.RuntimeClass(),
		},
	}
}

func policyRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "policy", Kind: "PodDisruptionBudget", Plural: "poddisruptionbudgets",
			Short: []string{"pdb"},
			New:   newOf[policyv1.PodDisruptionBudget], NewList: newOf[policyv1.PodDisruptionBudgetList],
			Name:       pathSegment,
			Generation: true,
			Validate:   validating(kinds.ValidatePodDisruptionBudget),
			Columns:    columns.PodDisruptionBudget(),
		},
	}
}

func rbacRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Plural: "clusterroles",
			ClusterScoped: true,
			New:           newOf[rbacv1.ClusterRole], NewList: newOf[rbacv1.ClusterRoleList],
			NoStatus: true, CreateOnUpdate: true,
			Columns: columns.ClusterRole(),
		},
		{
			Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding", Plural: "clusterrolebindings",
			ClusterScoped: true,
			New:           newOf[rbacv1.ClusterRoleBinding], NewList: newOf[rbacv1.ClusterRoleBindingList],
			NoStatus: true, CreateOnUpdate: true,
			Columns: columns.ClusterRoleBinding(),
		},
		{
			Group: "rbac.authorization.k8s.io", Kind: "Role", Plural: "roles",
			New: newOf[rbacv1.Role], NewList: newOf[rbacv1.RoleList],
			NoStatus: true, CreateOnUpdate: true,
			Columns: columns.Role(),
		},
		{
			Group: "rbac.authorization.k8s.io", Kind: "RoleBinding", Plural: "rolebindings",
			New: newOf[rbacv1.RoleBinding], NewList: newOf[rbacv1.RoleBindingList],
			NoStatus: true, CreateOnUpdate: true,
			Columns: columns.RoleBinding(),
		},
	}
}

func schedulingRows() []resource.Resource {
	return []resource.Resource{
		{
			Group: "scheduling.k8s.io", Kind: "PriorityClass", Plural: "priorityclasses",
			Short:         []string{"pc"},
			ClusterScoped: true,
			New:           newOf[schedulingv1.PriorityClass], NewList: newOf[schedulingv1.PriorityClassList],
			Generation: true, NoStatus: true,
			Default:  defaulting(defaults.PriorityClass),
			Validate: validating(kinds.ValidatePriorityClass),
			Columns:  columns.PriorityClass(),
		},
	}
}
