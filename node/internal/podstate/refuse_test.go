package podstate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/fit"
)

func TestRefuse(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
	}
	asks := func(r corev1.ResourceList) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = r }
	}
	takes := func(ip string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, HostIP: ip}} }
	}
	sysctl := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: name, Value: "1"}}}
		}
	}
	taint := func(effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: effect}} }
	}
	under := func(all ...corev1.NodeConditionType) func(*corev1.Node) {
		return func(n *corev1.Node) {
			for _, c := range all {
				n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c, Status: corev1.ConditionTrue})
			}
		}
	}
	both := func(changes ...func(*corev1.Pod)) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for _, change := range changes {
				change(p)
			}
		}
	}
	tolerating := func(key string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: key, Operator: corev1.TolerationOpExists}}
		}
	}
	priority := func(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }
	qos := func(class corev1.PodQOSClass) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.QOSClass = class }
	}
	const memory, disk = corev1.NodeMemoryPressure, corev1.NodeDiskPressure
	const portTaken = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
	const notSelected = "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	rows := []struct {
		name   string
		others []*corev1.Pod
		change func(*corev1.Pod)
		node   func(*corev1.Node)
		want   string
	}{
		{"fits", []*corev1.Pod{pod(asks(list("1", "1Mi")))}, asks(list("1", "1Mi")), nil, ""},
		{"CPU", []*corev1.Pod{pod(asks(list("1", "1")))}, asks(list("1500m", "9Gi")), nil, "OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"},
		{"memory", nil, asks(list("1", "2Gi")), nil, "OutOfmemory: Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824"},
		{"number of Pods", []*corev1.Pod{pod(), pod()}, asks(list("9", "1")), nil, "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"},
		{"huge pages", nil, asks(corev1.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi")}), nil, "OutOfhugepages-2Mi: Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0"},
		{"a device that is not known yet", nil, asks(corev1.ResourceList{"x.io/gpu": resource.MustParse("1")}), nil, ""},
		{"port", []*corev1.Pod{pod(takes(""))}, takes(""), nil, portTaken},
		{"port of one IPv4 address", []*corev1.Pod{pod(takes("127.0.0.1"))}, takes("0.0.0.0"), nil, portTaken},
		{"port of one IPv6 address", []*corev1.Pod{pod(takes("::"))}, takes("::1"), nil, portTaken},
		{"port of the other family", []*corev1.Pod{pod(takes("127.0.0.1"))}, takes("::1"), nil, ""},
		{"selector", nil, func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "b"} }, nil, notSelected},
		{"required affinity", nil, func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
				{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"a"}}}},
			}}}}
		}, nil, notSelected},
		{"taint", nil, nil, taint(corev1.TaintEffectNoExecute), "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"},
		{"tolerated", nil, tolerating("k"), taint(corev1.TaintEffectNoExecute), ""},
		{"taint for the scheduler", nil, nil, taint(corev1.TaintEffectNoSchedule), ""},
		{"other system", nil, func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, nil, "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"},
		{"other system by label", nil, func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} }, nil, "PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
		{"safe sysctl", nil, sysctl("net.ipv4.tcp_syncookies"), nil, ""},
		{"safe sysctl with slashes", nil, sysctl("net/ipv4/tcp_syncookies"), nil, ""},
		{"mixed separators", nil, sysctl("net/ipv4.tcp_syncookies"), nil, `SysctlForbidden: forbidden sysctl: "net.ipv4/tcp_syncookies" not allowlisted`},
		{"unsafe sysctl", nil, both(sysctl("net.core.somaxconn"), asks(list("9", "1"))), nil, `SysctlForbidden: forbidden sysctl: "net.core.somaxconn" not allowlisted`},
		{"the node's network", nil, both(sysctl("net.ipv4.tcp_syncookies"), func(p *corev1.Pod) { p.Spec.HostNetwork = true }), nil, `SysctlForbidden: forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled`},
		{"the node's memory", nil, both(sysctl("kernel.shm_rmid_forced"), func(p *corev1.Pod) { p.Spec.HostIPC = true }), nil, `SysctlForbidden: forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled`},
		{"disk full", nil, qos(corev1.PodQOSGuaranteed), under(disk), "Evicted: The node had condition: [DiskPressure]. "},
		{"disk full, critical", nil, priority(2_000_000_000), under(disk), ""},
		{"memory full", nil, qos(corev1.PodQOSBestEffort), under(memory), "Evicted: The node had condition: [MemoryPressure]. "},
		{"memory full, with a request", nil, qos(corev1.PodQOSBurstable), under(memory), ""},
		{"memory full, tolerated", nil, both(qos(corev1.PodQOSBestEffort), tolerating(corev1.TaintNodeMemoryPressure)), under(memory), ""},
		{"both full", nil, qos(corev1.PodQOSBurstable), under(memory, disk), "Evicted: The node had condition: [MemoryPressure DiskPressure]. "},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"zone": "a", corev1.LabelOSStable: "linux"}}}
			if row.node != nil {
				row.node(node)
			}
			room := fit.Room{Allocatable: fit.AmountsOf(list("2", "1Gi"))}
			room.Allocatable["pods"] = 2
			for _, other := range row.others {
				needs := fit.Of(other)
				room.Add(&needs)
			}
			p := pod()
			if row.change != nil {
				row.change(p)
			}
			needs, got := fit.Of(p), ""
			if f := Refuse(p, &needs, node, &room); f != nil {
				got = f.Reason + ": " + f.Message
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// TestRejected: nothing is begun for a Pod that was refused, and nothing else is said about it.
func TestRejected(t *testing.T) {
	refused := Observed{Now: now, Rejected: &Failure{Reason: "OutOfcpu", Message: "Node didn't have enough resource: cpu"}, Containers: map[string]Container{}}
	d := Next(pod(), refused)
	if got, want := told(d), "Cleanup, = Failed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if s := d.Status; s.Reason != "OutOfcpu" || s.Message != "Pod was rejected: Node didn't have enough resource: cpu" || s.StartTime == nil {
		t.Errorf("%+v", s)
	}
	again := pod(deleted)
	again.Status = d.Status
	if got, want := told(Next(again, refused)), "Remove, = Failed"; got != want {
		t.Errorf("deleted: got %s, want %s", got, want)
	}
}
