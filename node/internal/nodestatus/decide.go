package nodestatus

import (
	"cmp"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/version"
)

// Below these the node is under pressure. Upstream's thresholds, with one change: a tenth of a big
// disk is far more than a node needs, so that a gigabyte of space is always enough.
const (
	memoryThreshold    = 100 << 20
	diskThresholdMost  = 1 << 30
	diskThresholdPart  = 10 // a tenth
	inodeThresholdPart = 20
	pidThresholdPart   = 20
)

// Upstream's limits of the list of images in a Node.
const (
	maxImages     = 50
	maxImageNames = 5
)

// status returns what the Node's status should say, given what it says now. Conditions and fields
// that are others' stay.
func status(old *corev1.NodeStatus, name string, addresses []netip.Addr, f Facts, config Config, now time.Time) corev1.NodeStatus {
	s := *old.DeepCopy()
	s.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	s.DaemonEndpoints.KubeletEndpoint.Port = int32(config.Port)
	s.NodeInfo = corev1.NodeSystemInfo{
		MachineID: f.MachineID, SystemUUID: f.SystemUUID, BootID: f.BootID,
		KernelVersion: f.Kernel, OSImage: f.OSImage,
		ContainerRuntimeVersion: cmp.Or(f.RuntimeVersion, old.NodeInfo.ContainerRuntimeVersion),
		KubeletVersion:          version.Get().GitVersion,
		OperatingSystem:         runtime.GOOS, Architecture: runtime.GOARCH,
	}
	if f.Swap > 0 {
		s.NodeInfo.Swap = &corev1.NodeSwapStatus{Capacity: &f.Swap}
	}
	capacity(&s, f, config)
	if f.Images != nil {
		s.Images = images(f)
	}
	for _, c := range conditions(f, addresses) {
		setCondition(&s, c, now)
	}
	return s
}

// capacity sets what the node has and what of it Pods may ask for; amounts of other resources are
// device plugins' and stay.
func capacity(s *corev1.NodeStatus, f Facts, config Config) {
	if s.Capacity == nil {
		s.Capacity, s.Allocatable = corev1.ResourceList{}, corev1.ResourceList{}
	}
	set := func(name corev1.ResourceName, capacity, allocatable resource.Quantity) {
		s.Capacity[name], s.Allocatable[name] = capacity, allocatable
	}
	cpus, pods := *resource.NewQuantity(f.CPUs, resource.DecimalSI), *resource.NewQuantity(int64(config.MaxPods), resource.DecimalSI)
	bytes := func(n int64) resource.Quantity { return *resource.NewQuantity(max(n, 0), resource.BinarySI) }
	set(corev1.ResourceCPU, cpus, cpus)
	set(corev1.ResourcePods, pods, pods)
	free := f.Memory
	for size, n := range f.HugePages {
		set(corev1.ResourceName(corev1.ResourceHugePagesPrefix+size), bytes(n), bytes(n))
		free -= n
	}
	set(corev1.ResourceMemory, bytes(f.Memory), bytes(free-memoryThreshold))
	set(corev1.ResourceEphemeralStorage, bytes(f.Disk), bytes(f.Disk-diskThreshold(f)))
}

func diskThreshold(f Facts) int64 { return min(f.Disk/diskThresholdPart, diskThresholdMost) }

// images lists the biggest ones first.
func images(f Facts) []corev1.ContainerImage {
	out := []corev1.ContainerImage{}
	for _, i := range f.Images {
		names := imageNames(i)
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: int64(i.GetSize())})
	}
	slices.SortFunc(out, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), slices.Compare(a.Names, b.Names))
	})
	return out[:min(len(out), maxImages)]
}

// conditions judges, with upstream's reasons and messages.
func conditions(f Facts, addresses []netip.Addr) []corev1.NodeCondition {
	pressure := func(kind corev1.NodeConditionType, under bool, good, goodMessage, bad, badMessage string) corev1.NodeCondition {
		if under {
			return corev1.NodeCondition{Type: kind, Status: corev1.ConditionTrue, Reason: bad, Message: badMessage}
		}
		return corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: good, Message: goodMessage}
	}
	disk := f.Disk > 0 && (f.DiskAvailable < diskThreshold(f) || f.Inodes > 0 && f.InodesFree < f.Inodes/inodeThresholdPart)
	return []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, f.Memory > 0 && f.MemoryAvailable < memoryThreshold,
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available",
			"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
		pressure(corev1.NodeDiskPressure, disk,
			"KubeletHasNoDiskPressure", "kubelet has no disk pressure", "KubeletHasDiskPressure", "kubelet has disk pressure"),
		pressure(corev1.NodePIDPressure, f.ProcessesMax > 0 && f.ProcessesMax-f.Processes < f.ProcessesMax/pidThresholdPart,
			"KubeletHasSufficientPID", "kubelet has sufficient PID available",
			"KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
		ready(f, addresses),
	}
}

func ready(f Facts, addresses []netip.Addr) corev1.NodeCondition {
	var problems []string
	for _, p := range []string{f.RuntimeProblem, f.RuntimeNetProblem} {
		if p != "" {
			problems = append(problems, p)
		}
	}
	if len(addresses) == 0 {
		problems = append(problems, "host IP unknown; known addresses: []")
	}
	c := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue,
		Reason: "KubeletReady", Message: "kubelet is posting ready status",
	}
	if len(problems) == 0 {
		return c
	}
	c.Status, c.Reason, c.Message = corev1.ConditionFalse, "KubeletNotReady", problems[0]
	if len(problems) > 1 {
		c.Message = "[" + strings.Join(problems, ", ") + "]"
	}
	return c
}

// setCondition puts a condition in place of the one of its type.
func setCondition(s *corev1.NodeStatus, c corev1.NodeCondition, now time.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
	for i, old := range s.Conditions {
		if old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// event is one that a change of conditions is reported by.
type event struct{ kind, reason, message string }

// events compares two statuses: what people see under a Node as "NodeReady".
func events(name string, old, now *corev1.NodeStatus) []event {
	var out []event
	if old.NodeInfo.BootID != "" && old.NodeInfo.BootID != now.NodeInfo.BootID {
		out = append(out, event{corev1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", name, now.NodeInfo.BootID)})
	}
	reasons := map[corev1.NodeConditionType][2]string{ // when false, when true
		corev1.NodeMemoryPressure: {"NodeHasSufficientMemory", "NodeHasInsufficientMemory"},
		corev1.NodeDiskPressure:   {"NodeHasNoDiskPressure", "NodeHasDiskPressure"},
		corev1.NodePIDPressure:    {"NodeHasSufficientPID", "NodeHasInsufficientPID"},
		corev1.NodeReady:          {"NodeNotReady", "NodeReady"},
	}
	before := map[corev1.NodeConditionType]corev1.ConditionStatus{}
	for _, c := range old.Conditions {
		before[c.Type] = c.Status
	}
	for _, c := range now.Conditions {
		both, ours := reasons[c.Type]
		was, known := before[c.Type]
		// a node that begins is not ready yet: that is no news
		if !ours || was == c.Status || !known && c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse {
			continue
		}
		reason := both[0]
		if c.Status == corev1.ConditionTrue {
			reason = both[1]
		}
		out = append(out, event{corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", name, reason)})
	}
	return out
}
