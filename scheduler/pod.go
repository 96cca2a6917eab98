package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/duetk8s/duet/fit"
)

// pod is a Pod with what would else be worked out again for every node.
type pod struct {
	*corev1.Pod
	needs     fit.Pod
	expected  fit.Amounts                            // CPU and memory, with a guess if it requests none
	preferred *nodeaffinity.PreferredSchedulingTerms // nil for none
	group     string                                 // of the Pods it is to be spread among, "" for none
}

// What a container that requests nothing is taken to use when nodes are compared; as upstream.
var guess = fit.Amounts{corev1.ResourceCPU: 100, corev1.ResourceMemory: 200 << 20}

func newPod(obj *corev1.Pod) *pod {
	p := &pod{Pod: obj, needs: fit.Of(obj), expected: fit.Amounts{}}
	withGuess := fit.AmountsOf(resource.PodRequests(obj, resource.PodResourcesOptions{NonMissingContainerRequests: corev1.ResourceList{
		corev1.ResourceCPU: guess.Quantity(corev1.ResourceCPU), corev1.ResourceMemory: guess.Quantity(corev1.ResourceMemory),
	}}))
	for name := range guess {
		p.expected[name] = withGuess[name]
	}
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil {
		p.group = string(owner.UID)
	}
	if a := obj.Spec.Affinity; a != nil && a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		// A term that cannot be parsed prefers nothing.
		p.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return p
}

func (p *pod) priority() int32 { return corev1helpers.PodPriority(p.Pod) }
