package container

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The kernel's numbers for CPU time.
const (
	sharesPerCPU = 1024
	minShares    = 2
	maxShares    = 262144
	period       = 100_000 // microseconds
	minQuota     = 1000
)

// Whom the kernel kills first when memory runs out: -1000 never, 1000 first.
const (
	oomGuaranteed = -997
	oomBestEffort = 1000
	oomSandbox    = -998
)

// critical is the priority from which on a Pod belongs to the system.
const critical = 2_000_000_000

func resources(in Input) *runtimeapi.LinuxContainerResources {
	r := &in.Container.Resources
	out := &runtimeapi.LinuxContainerResources{
		CpuPeriod: period, CpuShares: shares(r), CpuQuota: quota(r.Limits.Cpu()),
		MemoryLimitInBytes: r.Limits.Memory().Value(),
		OomScoreAdj:        oomScore(in),
	}
	for name, q := range r.Limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			if n, err := resource.ParseQuantity(size); err == nil {
				out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: pageSize(n.Value()), Limit: uint64(q.Value())})
			}
		}
	}
	return out
}

// pageSize names a size as cgroups do: 2MB.
func pageSize(bytes int64) string {
	units := []string{"B", "KB", "MB", "GB"}
	i := 0
	for ; bytes >= 1024 && bytes%1024 == 0 && i < len(units)-1; i++ {
		bytes /= 1024
	}
	return resource.NewQuantity(bytes, resource.DecimalSI).String() + units[i]
}

// shares weighs a container by its request, or by its limit where it asks for nothing.
func shares(r *corev1.ResourceRequirements) int64 {
	milli := r.Requests.Cpu().MilliValue()
	if _, asked := r.Requests[corev1.ResourceCPU]; !asked {
		milli = r.Limits.Cpu().MilliValue()
	}
	return min(max(milli*sharesPerCPU/1000, minShares), maxShares)
}

// quota is the time that a container may have in each period; 0 is no limit.
func quota(limit *resource.Quantity) int64 {
	if limit.IsZero() {
		return 0
	}
	return max(limit.MilliValue()*period/1000, minQuota)
}

// oomScore is lower the more of the node's memory a container asked for, so that those who take more
// than they asked for die first.
func oomScore(in Input) int64 {
	if p := in.Pod.Spec.Priority; p != nil && *p >= critical {
		return oomGuaranteed
	}
	switch QOS(in.Pod) {
	case corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case corev1.PodQOSBestEffort:
		return oomBestEffort
	case corev1.PodQOSBurstable:
	}
	var capacity int64
	if in.Node != nil {
		capacity = in.Node.Status.Capacity.Memory().Value()
	}
	if capacity == 0 {
		return oomBestEffort - 1
	}
	asked := in.Container.Resources.Requests.Memory().Value()
	score := 1000 - 1000*float64(asked)/float64(capacity)
	return int64(min(max(score, 1000+oomGuaranteed), oomBestEffort-1))
}

// QOS returns a Pod's quality of service class: Guaranteed where every container has limits of CPU
// and memory and requests no less, BestEffort where none has any, Burstable otherwise.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	guaranteed, some := true, false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			r := &list[i].Resources
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				limit, request := r.Limits[name], r.Requests[name]
				some = some || limit.Sign() > 0 || request.Sign() > 0
				_, asked := r.Requests[name]
				if limit.Sign() <= 0 || asked && request.Cmp(limit) != 0 {
					guaranteed = false
				}
			}
		}
	}
	switch {
	case !some:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
