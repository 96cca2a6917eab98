package nodeauth

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
)

// Restriction refuses what a node would write about anything that is not its own.
type Restriction struct {
	Graph *Graph
	// Audience is the API server's own: what a token is for that says nothing else.
	Audience string
}

var _ admission.ValidationInterface = Restriction{}

// Handles tells that all but reading is of interest.
func (Restriction) Handles(admission.Operation) bool { return true }

// Validate looks at requests of nodes only.
func (r Restriction) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, ok := NodeOf(a.GetUserInfo())
	if !ok {
		return nil
	}
	var err error
	switch gr := a.GetResource().GroupResource(); gr.Group + "/" + gr.Resource {
	case "/pods":
		err = r.pod(ctx, node, a)
	case "/nodes":
		err = restrictNode(node, a)
	case "/serviceaccounts":
		if a.GetSubresource() == "token" {
			err = r.token(ctx, node, a)
		}
	case coordinationv1.GroupName + "/leases":
		err = restrictLease(node, a)
	case "storage.k8s.io/csinodes":
		if name := nameOf(a); name != node {
			err = fmt.Errorf("can only access CSINode with the same name as the requesting node")
		}
	}
	if err == nil || apierrors.IsNotFound(err) {
		return err
	}
	return admission.NewForbidden(a, err)
}

// nameOf is the name of what a request is about; only its object has it when something is created.
func nameOf(a admission.Attributes) string {
	if a.GetName() != "" || a.GetObject() == nil {
		return a.GetName()
	}
	m, err := meta.Accessor(a.GetObject())
	if err != nil {
		return ""
	}
	return m.GetName()
}

func (r Restriction) pod(ctx context.Context, node string, a admission.Attributes) error {
	switch a.GetSubresource() {
	case "":
		switch a.GetOperation() {
		case admission.Create:
			return restrictMirror(node, a)
		case admission.Delete:
			return r.ownPod(ctx, node, a, "node %q can only delete pods with spec.nodeName set to itself")
		}
		return fmt.Errorf("unexpected operation %q", a.GetOperation())
	case "status":
		old, ok := a.GetOldObject().(*corev1.Pod)
		if !ok || old.Spec.NodeName != node {
			return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node)
		}
		now, ok := a.GetObject().(*corev1.Pod)
		if !ok || !maps.Equal(now.Labels, old.Labels) {
			return fmt.Errorf("node %q cannot update labels through pod status", node)
		}
		return nil
	case "eviction":
		if e, ok := a.GetObject().(*policyv1.Eviction); ok && a.GetName() == "" {
			return r.podIs(ctx, node, a.GetNamespace(), e.Name, "node %s can only evict pods with spec.nodeName set to itself")
		}
		return r.ownPod(ctx, node, a, "node %s can only evict pods with spec.nodeName set to itself")
	}
	return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.GetSubresource())
}

func (r Restriction) ownPod(ctx context.Context, node string, a admission.Attributes, text string) error {
	return r.podIs(ctx, node, a.GetNamespace(), a.GetName(), text)
}

func (r Restriction) podIs(ctx context.Context, node, namespace, name, text string) error {
	pod, err := r.Graph.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err //nolint:wrapcheck // NotFound is the answer
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf(text, node)
	}
	return nil
}

// restrictMirror lets a node create nothing but mirrors of what it runs anyway.
func restrictMirror(node string, a admission.Attributes) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node)
	}
	for _, o := range pod.OwnerReferences {
		if o.APIVersion != "v1" || o.Kind != "Node" || o.Name != node {
			return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
		}
	}
	if pod.Spec.ServiceAccountName != "" {
		return fmt.Errorf("node %q can not create pods that reference a service account", node)
	}
	if refersToAny(pod) {
		return fmt.Errorf("node %q can not create pods that reference secrets or configmaps", node)
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.PersistentVolumeClaim != nil || v.Ephemeral != nil ||
			projects(v, func(s *corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			return fmt.Errorf("node %q can not create pods that reference persistentvolumeclaims or service account tokens", node)
		}
	}
	return nil
}

// restrictNode lets a node write its own Node, but not what says whom it may serve.
func restrictNode(node string, a admission.Attributes) error {
	if name := nameOf(a); name != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, name)
	}
	now, ok := a.GetObject().(*corev1.Node)
	if !ok {
		return nil
	}
	old, _ := a.GetOldObject().(*corev1.Node)
	var had map[string]string
	if old != nil {
		had = old.Labels
		if a.GetSubresource() == "" && !apiequality.Semantic.DeepEqual(now.Spec.Taints, old.Spec.Taints) {
			return fmt.Errorf("node %q is not allowed to modify taints", node)
		}
		if !apiequality.Semantic.DeepEqual(now.OwnerReferences, old.OwnerReferences) {
			return fmt.Errorf("node %q is not allowed to modify ownerReferences", node)
		}
	}
	var bad []string
	for _, labels := range []map[string]string{now.Labels, had} {
		for key := range labels {
			value, has := now.Labels[key]
			before, did := had[key]
			if (value != before || has != did) && !ownLabel(key) && !slices.Contains(bad, key) {
				bad = append(bad, key)
			}
		}
	}
	slices.Sort(bad)
	switch {
	case len(bad) > 0 && old == nil:
		return fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(bad, ", "))
	case len(bad) > 0:
		return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(bad, ", "))
	}
	return nil
}

// kubeletLabels are those of kubernetes.io and k8s.io that a node may set for itself.
var kubeletLabels = []string{
	corev1.LabelHostname, corev1.LabelArchStable, corev1.LabelOSStable, corev1.LabelInstanceTypeStable, corev1.LabelInstanceType,
	corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	"beta.kubernetes.io/arch", "beta.kubernetes.io/os", corev1.LabelWindowsBuild,
}

// ownLabel tells whether a node may set a label: not those by which people keep Pods to nodes they
// trust (node-restriction.kubernetes.io/), nor others of Kubernetes' own.
func ownLabel(key string) bool {
	domain, _, found := strings.Cut(key, "/")
	if !found {
		return true
	}
	in := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	switch {
	case in("kubelet.kubernetes.io"), in("node.kubernetes.io"):
		return true
	case in("kubernetes.io"), in("k8s.io"):
		return slices.Contains(kubeletLabels, key)
	}
	return true
}

// token lets a node have tokens for its own Pods only.
func (r Restriction) token(ctx context.Context, node string, a admission.Attributes) error {
	request, ok := a.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil {
		return fmt.Errorf("node requested token not bound to a pod")
	}
	if ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return fmt.Errorf("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return fmt.Errorf("node requested token with a pod binding without a uid")
	}
	pod, err := r.Graph.client.CoreV1().Pods(a.GetNamespace()).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return err //nolint:wrapcheck // NotFound is the answer
	}
	if pod.UID != ref.UID {
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("node requested token bound to a pod scheduled on a different node")
	}
	return r.audience(node, request.Spec.Audiences, pod)
}

// audience lets a node have tokens only for whom its Pod has asked for one: a node that was taken
// over gets none for others (KEP-4412).
func (r Restriction) audience(node string, wanted []string, pod *corev1.Pod) error {
	if len(wanted) > 1 {
		return fmt.Errorf("node may only request 0 or 1 audiences")
	}
	audience := ""
	if len(wanted) == 1 && wanted[0] != r.Audience {
		audience = wanted[0]
	}
	for i := range pod.Spec.Volumes {
		asks := projects(&pod.Spec.Volumes[i], func(s *corev1.VolumeProjection) bool {
			t := s.ServiceAccountToken
			return t != nil && (t.Audience == audience || audience == "" && t.Audience == r.Audience)
		})
		if asks {
			return nil
		}
	}
	return fmt.Errorf("audience %q not found in pod spec volume, %s%s is not authorized to request tokens for this audience", audience, userPrefix, node)
}

func restrictLease(node string, a admission.Attributes) error {
	if a.GetNamespace() != corev1.NamespaceNodeLease {
		return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if nameOf(a) != node {
		return fmt.Errorf("can only access node lease with the same name as the requesting node")
	}
	return nil
}
