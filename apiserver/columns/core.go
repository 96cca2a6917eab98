package columns

import (
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/duetk8s/duet/apiserver/resource"
)

// Node prints NAME STATUS ROLES AGE VERSION, wide INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION
// CONTAINER-RUNTIME. Of several addresses of one kind it shows the first (D2.6).
func Node() *resource.Columns {
	return table(
		defs(text("Status"), text("Roles"), ageColumn(), text("Version"), wide("Internal-IP"),
			wide("External-IP"), wide("OS-Image"), wide("Kernel-Version"), wide("Container-Runtime")),
		func(n *corev1.Node) []any {
			info := n.Status.NodeInfo
			return []any{
				n.Name, nodeStatus(n), nodeRoles(n), age(&n.ObjectMeta), info.KubeletVersion,
				nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
				or(info.OSImage, unknown), or(info.KernelVersion, unknown), or(info.ContainerRuntimeVersion, unknown),
			}
		})
}

// nodeStatus is "Ready", "NotReady" (also when Ready is Unknown) or "Unknown" without any
// condition, and "Ready,SchedulingDisabled" when cordoned.
func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if status = "NotReady"; c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles reads the labels node-role.kubernetes.io/ROLE and kubernetes.io/role=ROLE.
func nodeRoles(n *corev1.Node) string {
	roles := sets.New[string]()
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			roles.Insert(role)
		}
		if key == "kubernetes.io/role" && value != "" {
			roles.Insert(value)
		}
	}
	return or(strings.Join(sets.List(roles), ","), none)
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return none
}

// Namespace prints NAME STATUS AGE.
func Namespace() *resource.Columns {
	return table(defs(text("Status"), ageColumn()), func(n *corev1.Namespace) []any {
		return []any{n.Name, string(n.Status.Phase), age(&n.ObjectMeta)}
	})
}

// ConfigMap prints NAME DATA AGE; DATA counts binary entries too.
func ConfigMap() *resource.Columns {
	return table(defs(text("Data"), ageColumn()), func(c *corev1.ConfigMap) []any {
		return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), age(&c.ObjectMeta)}
	})
}

// Secret prints NAME TYPE DATA AGE.
func Secret() *resource.Columns {
	return table(defs(text("Type"), text("Data"), ageColumn()), func(s *corev1.Secret) []any {
		return []any{s.Name, string(s.Type), int64(len(s.Data)), age(&s.ObjectMeta)}
	})
}

// ServiceAccount prints NAME AGE. Until 1.34 there was a column SECRETS between them, which had
// been 0 everywhere since 1.24 (kubernetes/kubernetes#117160).
func ServiceAccount() *resource.Columns {
	return table(defs(ageColumn()), func(s *corev1.ServiceAccount) []any {
		return []any{s.Name, age(&s.ObjectMeta)}
	})
}

// Endpoints prints NAME ENDPOINTS AGE: ready addresses only, "10.244.1.5:80,[fd00::5]:80".
func Endpoints() *resource.Columns {
	return table(defs(text("Endpoints"), ageColumn()), func(e *corev1.Endpoints) []any { //nolint:staticcheck // served as long as upstream serves it
		return []any{e.Name, endpointList(e), age(&e.ObjectMeta)}
	})
}

func endpointList(e *corev1.Endpoints) string { //nolint:staticcheck // served as long as upstream serves it
	if len(e.Subsets) == 0 {
		return none
	}
	var items []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 { // headless without ports
			for _, a := range s.Addresses {
				items = append(items, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				items = append(items, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return firstFew(items, shown, ",")
}

// Event prints LAST SEEN TYPE REASON OBJECT MESSAGE; wide puts SUBOBJECT and SOURCE before MESSAGE
// and FIRST SEEN, COUNT and NAME behind it.
func Event() *resource.Columns {
	count := number("Count")
	count.Priority = 1
	name := nameColumn()
	name.Priority = 1
	return table([]metav1.TableColumnDefinition{
		text("Last Seen"), text("Type"), text("Reason"), text("Object"), wide("Subobject"),
		wide("Source"), text("Message"), wide("First Seen"), count, name,
	}, eventRow)
}

func eventRow(e *corev1.Event) []any {
	first := since(e.FirstTimestamp.Time)
	if e.FirstTimestamp.IsZero() {
		first = since(e.EventTime.Time)
	}
	last := since(e.LastTimestamp.Time)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := max(e.Count, 1)
	if e.Series != nil {
		last, count = since(e.Series.LastObservedTime.Time), e.Series.Count
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := or(e.Source.Component, e.ReportingController)
	if host := or(e.Source.Host, e.ReportingInstance); host != "" {
		source += ", " + host
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source,
		strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}

// LimitRange prints NAME CREATED AT.
func LimitRange() *resource.Columns { return Default() }

// ResourceQuota prints NAME REQUEST LIMIT AGE, "requests.cpu: 500m/1, pods: 1/4" and the same for
// keys that begin with limits.
func ResourceQuota() *resource.Columns {
	return table(defs(text("Request"), text("Limit"), ageColumn()), func(q *corev1.ResourceQuota) []any {
		var requests, limits []string
		for _, name := range sets.List(sets.KeySet(q.Status.Hard)) {
			used, hard := q.Status.Used[name], q.Status.Hard[name]
			item := string(name) + ": " + used.String() + "/" + hard.String()
			if strings.HasPrefix(string(name), "limits.") {
				limits = append(limits, item)
			} else {
				requests = append(requests, item)
			}
		}
		return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), age(&q.ObjectMeta)}
	})
}
