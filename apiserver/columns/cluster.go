package columns

import (
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/duetk8s/duet/apiserver/resource"
)

func lower(s string) string { return strings.ToLower(s) }

// CertificateSigningRequest prints NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION.
func CertificateSigningRequest() *resource.Columns {
	return table(
		defs(ageColumn(), text("SignerName"), text("Requestor"), text("RequestedDuration"), text("Condition")),
		func(r *certificatesv1.CertificateSigningRequest) []any {
			requested := none
			if s := r.Spec.ExpirationSeconds; s != nil {
				requested = duration.HumanDuration(time.Duration(*s) * time.Second)
			}
			return []any{
				r.Name, age(&r.ObjectMeta), or(r.Spec.SignerName, none), r.Spec.Username, requested, csrCondition(r),
			}
		})
}

// csrCondition is "Pending", "Approved" or "Denied", followed by ",Failed" and ",Issued".
func csrCondition(r *certificatesv1.CertificateSigningRequest) string {
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range r.Status.Conditions {
		has[c.Type] = true
	}
	condition := "Pending"
	switch {
	case has[certificatesv1.CertificateDenied]:
		condition = "Denied"
	case has[certificatesv1.CertificateApproved]:
		condition = "Approved"
	}
	if has[certificatesv1.CertificateFailed] {
		condition += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		condition += ",Issued"
	}
	return condition
}

// Lease prints NAME HOLDER AGE.
func Lease() *resource.Columns {
	return table(defs(text("Holder"), ageColumn()), func(l *coordinationv1.Lease) []any {
		return []any{l.Name, orDeref(l.Spec.HolderIdentity, ""), age(&l.ObjectMeta)}
	})
}

// RuntimeClass prints NAME HANDLER AGE.
func RuntimeClass() *resource.Columns {
	return table(defs(text("Handler"), ageColumn()), func(c *nodev1.RuntimeClass) []any {
		return []any{c.Name, c.Handler, age(&c.ObjectMeta)}
	})
}

// PodDisruptionBudget prints NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE.
func PodDisruptionBudget() *resource.Columns {
	bound := func(b *intstr.IntOrString) string {
		if b == nil {
			return "N/A"
		}
		return b.String()
	}
	return table(
		defs(text("Min Available"), text("Max Unavailable"), number("Allowed Disruptions"), ageColumn()),
		func(p *policyv1.PodDisruptionBudget) []any {
			return []any{
				p.Name, bound(p.Spec.MinAvailable), bound(p.Spec.MaxUnavailable),
				int64(p.Status.DisruptionsAllowed), age(&p.ObjectMeta),
			}
		})
}

// Role prints NAME CREATED AT.
func Role() *resource.Columns { return Default() }

// ClusterRole prints NAME CREATED AT.
func ClusterRole() *resource.Columns { return Default() }

// RoleBinding prints NAME ROLE AGE, wide USERS GROUPS SERVICEACCOUNTS.
func RoleBinding() *resource.Columns {
	return table(bindingColumns(), func(b *rbacv1.RoleBinding) []any {
		return bindingRow(&b.ObjectMeta, b.RoleRef, b.Subjects)
	})
}

// ClusterRoleBinding prints what RoleBinding prints.
func ClusterRoleBinding() *resource.Columns {
	return table(bindingColumns(), func(b *rbacv1.ClusterRoleBinding) []any {
		return bindingRow(&b.ObjectMeta, b.RoleRef, b.Subjects)
	})
}

func bindingColumns() []metav1.TableColumnDefinition {
	return defs(text("Role"), ageColumn(), wide("Users"), wide("Groups"), wide("ServiceAccounts"))
}

func bindingRow(m *metav1.ObjectMeta, role rbacv1.RoleRef, subjects []rbacv1.Subject) []any {
	byKind := map[string][]string{}
	for _, s := range subjects {
		name := s.Name
		if s.Kind == rbacv1.ServiceAccountKind {
			name = s.Namespace + "/" + s.Name
		}
		byKind[s.Kind] = append(byKind[s.Kind], name)
	}
	list := func(kind string) string { return strings.Join(byKind[kind], ", ") }
	return []any{
		m.Name, role.Kind + "/" + role.Name, age(m),
		list(rbacv1.UserKind), list(rbacv1.GroupKind), list(rbacv1.ServiceAccountKind),
	}
}

// PriorityClass prints NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY.
func PriorityClass() *resource.Columns {
	return table(
		defs(number("Value"), boolean("Global-Default"), ageColumn(), text("PreemptionPolicy")),
		func(c *schedulingv1.PriorityClass) []any {
			return []any{
				c.Name, int64(c.Value), c.GlobalDefault, age(&c.ObjectMeta), orDeref(c.PreemptionPolicy, ""),
			}
		})
}
