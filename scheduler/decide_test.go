package scheduler

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodeFrom makes a node of words:
//
//	NAME cpu=1 memory=1Gi pods=5 x.io/gpu=1   allocatable; 4 CPUs, 8Gi, 110 Pods unless given
//	label:zone=a taint:key=value:NoSchedule cordoned
func nodeFrom(t testing.TB, text string) *corev1.Node {
	t.Helper()
	words := strings.Fields(text)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: words[0], Labels: map[string]string{}}}
	n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("110")}
	for _, word := range words[1:] {
		kind, rest, _ := strings.Cut(word, ":")
		key, value, _ := strings.Cut(rest, "=")
		switch kind {
		case "cordoned":
			n.Spec.Unschedulable = true
		case "label":
			n.Labels[key] = value
		case "taint":
			value, effect, _ := strings.Cut(value, ":")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
		default:
			key, value, ok := strings.Cut(word, "=")
			if !ok {
				t.Fatal(word)
			}
			n.Status.Allocatable[corev1.ResourceName(key)] = resource.MustParse(value)
		}
	}
	return n
}

// podFrom makes a Pod of words:
//
//	NAME cpu=1 memory=1Gi x.io/gpu=1        requests
//	port:80 port:UDP/80 port:TCP/1.2.3.4/80 host ports
//	on:NODE select:zone=a tolerate:key in:zone=a,b like:zone=a never owner:UID priority:5 gated scheduler:NAME
func podFrom(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	words := strings.Fields(text)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: words[0], UID: types.UID(words[0])}}
	p.Spec.SchedulerName = corev1.DefaultSchedulerName
	c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}
	affinity := &corev1.NodeAffinity{}
	term := func(key, value string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: strings.Split(value, ",")}}}
	}
	for _, word := range words[1:] {
		kind, rest, _ := strings.Cut(word, ":")
		key, value, _ := strings.Cut(rest, "=")
		switch kind {
		case "on":
			p.Spec.NodeName = rest
		case "scheduler":
			p.Spec.SchedulerName = rest
		case "gated":
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
		case "never":
			p.Spec.PreemptionPolicy = new(corev1.PreemptNever)
		case "select":
			p.Spec.NodeSelector = map[string]string{key: value}
		case "tolerate":
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: rest, Operator: corev1.TolerationOpExists})
		case "owner":
			p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(rest), Controller: new(true)}}
		case "priority":
			n, err := strconv.Atoi(rest)
			if err != nil {
				t.Fatal(err)
			}
			p.Spec.Priority = new(int32(n))
		case "in":
			affinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term(key, value)}}
		case "like":
			affinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: term(key, value)}}
		case "port":
			parts := strings.Split(rest, "/")
			port := corev1.ContainerPort{}
			n, err := strconv.Atoi(parts[len(parts)-1])
			if err != nil {
				t.Fatal(err)
			}
			port.HostPort = int32(n)
			if len(parts) > 1 {
				port.Protocol = corev1.Protocol(parts[0])
			}
			if len(parts) > 2 {
				port.HostIP = parts[1]
			}
			c.Ports = append(c.Ports, port)
		default:
			key, value, ok := strings.Cut(word, "=")
			if !ok {
				t.Fatal(word)
			}
			c.Resources.Requests[corev1.ResourceName(key)] = resource.MustParse(value)
		}
	}
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: affinity}
	p.Spec.Containers = []corev1.Container{c}
	return p
}

// pictureOf has a line for each node and for each Pod on one.
func pictureOf(t testing.TB, nodes, pods []string) *picture {
	t.Helper()
	c := newPicture()
	for _, n := range nodes {
		c.setNode(nodeFrom(t, n))
	}
	for _, line := range pods {
		p := podFrom(t, line)
		c.place(newPod(p), p.Spec.NodeName)
	}
	return c
}

func TestDecide(t *testing.T) {
	const (
		unhelpful = " preemption: 0/%d nodes are available: %[1]d Preemption is not helpful for scheduling."
		noVictims = " preemption: 0/%d nodes are available: %[1]d No preemption victims found for incoming pod."
	)
	for1, for2 := func(s string) string { return fmt.Sprintf(s, 1) }, func(s string) string { return fmt.Sprintf(s, 2) }
	rows := []struct {
		name  string
		nodes []string
		pods  []string
		pod   string
		want  string // node, or message
	}{
		{"the only one", []string{"a"}, nil, "p", "a"},
		{"no nodes", nil, nil, "p", "no nodes available to schedule pods"},

		{"CPU", []string{"a cpu=2"}, []string{"x on:a cpu=1500m"}, "p cpu=1", "0/1 nodes are available: 1 Insufficient cpu." + for1(noVictims)},
		{"CPU and memory", []string{"a cpu=1 memory=1Gi"}, nil, "p cpu=2 memory=2Gi", "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory." + for1(unhelpful)},
		{"to the last bit", []string{"a cpu=2"}, []string{"x on:a cpu=1"}, "p cpu=1", "a"},
		{"a device", []string{"a", "b x.io/gpu=1"}, nil, "p x.io/gpu=1", "b"},
		{"no device left", []string{"a x.io/gpu=1"}, []string{"x on:a x.io/gpu=1"}, "p x.io/gpu=1", "0/1 nodes are available: 1 Insufficient x.io/gpu." + for1(noVictims)},
		{"number of Pods", []string{"a pods=1"}, []string{"x on:a"}, "p", "0/1 nodes are available: 1 Too many pods." + for1(noVictims)},
		{"two kinds of no", []string{"a cpu=1", "b taint:k=v:NoSchedule"}, []string{"x on:a cpu=1"}, "p cpu=1", "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}. preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."},
		{"never preempts", []string{"a cpu=1"}, nil, "p cpu=2 never", "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."},

		{"taint", []string{"a taint:k=:NoExecute", "b"}, nil, "p", "b"},
		{"taint without value", []string{"a taint:k=:NoExecute"}, nil, "p", "0/1 nodes are available: 1 node(s) had untolerated taint {k: }." + for1(unhelpful)},
		{"tolerated", []string{"a taint:k=v:NoSchedule"}, nil, "p tolerate:k", "a"},
		{"a taint to avoid", []string{"a taint:k=v:PreferNoSchedule", "b"}, []string{"x on:b cpu=3", "y on:b"}, "p", "b"},
		{"only a taint to avoid", []string{"a taint:k=v:PreferNoSchedule"}, nil, "p", "a"},
		{"cordoned", []string{"a cordoned", "b cordoned"}, nil, "p", "0/2 nodes are available: 2 node(s) were unschedulable." + for2(unhelpful)},
		{"cordoned, tolerated", []string{"a cordoned"}, nil, "p tolerate:node.kubernetes.io/unschedulable", "a"},

		{"selector", []string{"a", "b label:zone=b"}, nil, "p select:zone=b", "b"},
		{"selector of nothing", []string{"a label:zone=a"}, nil, "p select:zone=b", "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." + for1(unhelpful)},
		{"required affinity", []string{"a label:zone=a", "b label:zone=b"}, nil, "p in:zone=b,c", "b"},
		{"preferred affinity", []string{"a label:zone=a", "b label:zone=b"}, []string{"x on:b cpu=1"}, "p like:zone=b", "b"},
		{"preferred only", []string{"a label:zone=a"}, nil, "p like:zone=b", "a"},

		{"port", []string{"a", "b"}, []string{"x on:a port:80"}, "p port:80", "b"},
		{"port taken", []string{"a"}, []string{"x on:a port:80"}, "p port:80", "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports." + for1(noVictims)},
		{"other protocol", []string{"a"}, []string{"x on:a port:80"}, "p port:UDP/80", "a"},
		{"other address", []string{"a"}, []string{"x on:a port:TCP/192.0.2.1/80"}, "p port:TCP/192.0.2.2/80", "a"},
		{"all IPv4 and one", []string{"a", "b cpu=1"}, []string{"x on:a port:TCP/0.0.0.0/80"}, "p port:TCP/192.0.2.2/80", "b"},
		{"all IPv4 and all IPv6", []string{"a"}, []string{"x on:a port:TCP/0.0.0.0/80"}, "p port:TCP/::/80", "a"},
		{"all IPv6 and one", []string{"a", "b cpu=1"}, []string{"x on:a port:TCP/::/80"}, "p port:TCP/2001:db8::1/80", "b"},
		{"all and one IPv6", []string{"a", "b cpu=1"}, []string{"x on:a port:80"}, "p port:TCP/2001:db8::1/80", "b"},

		{"spread by owner", []string{"a", "b"}, []string{"x on:a owner:1", "y on:b owner:2", "z on:b owner:2"}, "p owner:1", "b"},
		{"least allocated", []string{"a", "b"}, []string{"x on:a cpu=2 owner:1", "y on:b cpu=1 owner:1"}, "p owner:2", "b"},
		{"larger node", []string{"a cpu=2 memory=4Gi", "b"}, nil, "p cpu=1 memory=1Gi", "b"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := standard().decide(newPod(podFrom(t, row.pod)), pictureOf(t, row.nodes, row.pods).nodes, 0)
			got := d.message
			if d.node != nil {
				got = d.node.name
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// TestTurn: equal nodes take turns, and many Pods end up evenly spread.
func TestTurn(t *testing.T) {
	c := pictureOf(t, []string{"a", "b", "c"}, nil)
	for i := range 30 {
		p := newPod(podFrom(t, fmt.Sprintf("p%d", i)))
		c.place(p, standard().decide(p, c.nodes, i).node.name)
	}
	for _, n := range c.nodes {
		if len(n.pods) != 10 {
			t.Errorf("%s has %d Pods", n.name, len(n.pods))
		}
	}
}

// TestPicture: whatever comes and goes, nothing is left of it.
func TestPicture(t *testing.T) {
	c := pictureOf(t, []string{"a", "b"}, []string{"x on:a cpu=1 port:80", "y on:gone cpu=1"})
	c.place(newPod(podFrom(t, "x cpu=2 port:80")), "b")
	if n := c.node("a"); len(n.pods)+len(n.room.Ports)+len(n.groups) != 0 || n.room.Pods != 0 || n.room.Used["cpu"] != 0 || n.expected["memory"] != 0 {
		t.Errorf("a Pod that moved left %+v", n)
	}
	c.removeNode("b")
	if len(c.nodes) != 1 || c.byName["b"] == nil {
		t.Error("a node that goes is gone, and its Pods are not")
	}
	if got := c.setNode(nodeFrom(t, "b")); got != nodeAdded || c.nodes[1].room.Used["cpu"] != 2000 {
		t.Error("a node that comes back has its Pods", got)
	}
	for _, uid := range []types.UID{"x", "y"} {
		if !c.remove(uid) || c.remove(uid) {
			t.Error("removed once:", uid)
		}
	}
	c.removeNode("a")
	c.removeNode("b")
	if len(c.byName)+len(c.nodes)+len(c.places) != 0 {
		t.Errorf("left: %+v", c)
	}
}

// TestNodeChange: only what a filter looks at is a change.
func TestNodeChange(t *testing.T) {
	for text, want := range map[string]change{
		"a": 0, "a cpu=5": nodeResources, "a label:x=y": nodeLabels, "a taint:k=v:NoSchedule": nodeTaints, "a cordoned pods=1": nodeTaints | nodeResources,
	} {
		if got := pictureOf(t, []string{"a"}, nil).setNode(nodeFrom(t, text)); got != want {
			t.Errorf("%s: %b, want %b", text, got, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, count := range []int{2, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", count), func(b *testing.B) {
			c := newPicture()
			for i := range count {
				c.setNode(nodeFrom(b, fmt.Sprintf("n%d", i)))
			}
			p := newPod(podFrom(b, "p cpu=1 memory=1Gi"))
			turn := 0
			for b.Loop() {
				standard().decide(p, c.nodes, turn)
				turn++
			}
		})
	}
}
