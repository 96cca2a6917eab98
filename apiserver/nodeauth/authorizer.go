// Package nodeauth decides what a node may do: its user is system:node:NAME in group system:nodes.
//
// [Authorizer] lets it see and change what its own Pods need, and [Restriction] is the admission
// plugin for what only the object in a request shows. Roles (package access) may allow a node more.
//
// # Guarantees
//
// A node reads no Secret, ConfigMap or ServiceAccount that none of its Pods uses, and gets no token
// for another node's Pod. A Pod that has just been bound counts at once: what the shared informer
// does not know yet is looked up.
package nodeauth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	userPrefix = "system:node:"
	byNode     = "nodeauth.spec.nodeName"
)

// NodeOf is the name of the node that u is.
func NodeOf(u user.Info) (string, bool) {
	if u == nil {
		return "", false
	}
	name, ok := strings.CutPrefix(u.GetName(), userPrefix)
	if !ok || name == "" {
		return "", false
	}
	if slices.Contains(u.GetGroups(), user.NodesGroup) {
		return name, true
	}
	return "", false
}

// Graph tells which Pods a node has.
type Graph struct {
	pods   cache.SharedIndexInformer
	client kubernetes.Interface
}

// NewGraph indexes pods, before its owner starts it.
func NewGraph(pods coreinformers.PodInformer, client kubernetes.Interface) (*Graph, error) {
	err := pods.Informer().AddIndexers(cache.Indexers{byNode: func(obj any) ([]string, error) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" {
			return nil, nil
		}
		return []string{pod.Spec.NodeName}, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("index Pods by node: %w", err)
	}
	return &Graph{pods.Informer(), client}, nil
}

// any tells whether a Pod of the node in the namespace fits.
func (g *Graph) any(ctx context.Context, node, namespace string, fits func(*corev1.Pod) bool) (bool, error) {
	known, err := g.pods.GetIndexer().ByIndex(byNode, node)
	if err != nil {
		return false, fmt.Errorf("look up Pods of node %s: %w", node, err)
	}
	for _, obj := range known {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Namespace == namespace && fits(pod) {
			return true, nil
		}
	}
	// Just bound perhaps, and known to the node before the informer here.
	now, err := g.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
	})
	if err != nil {
		return false, fmt.Errorf("list Pods of node %s: %w", node, err)
	}
	for i := range now.Items {
		if fits(&now.Items[i]) {
			return true, nil
		}
	}
	return false, nil
}

// Authorizer lets nodes do what they must.
type Authorizer struct {
	// Rules are what any node may do as far as names do not matter.
	Rules func(authorizer.Attributes) bool
	Graph *Graph
}

// Authorize allows, or has no opinion. Whoever is no node is none of its business.
func (z *Authorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	node, ok := NodeOf(a.GetUser())
	if !ok || !a.IsResourceRequest() {
		return authorizer.DecisionNoOpinion, "", nil
	}
	allowed, reason, err := z.resource(ctx, node, a)
	switch {
	case err != nil:
		return authorizer.DecisionNoOpinion, "", err
	case allowed:
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

func (z *Authorizer) resource(ctx context.Context, node string, a authorizer.Attributes) (bool, string, error) {
	switch a.GetAPIGroup() + "/" + a.GetResource() {
	case "/secrets":
		return z.used(ctx, node, a, usesSecret)
	case "/configmaps":
		return z.used(ctx, node, a, usesConfigMap)
	case "/serviceaccounts":
		if a.GetSubresource() == "token" {
			return z.token(ctx, node, a)
		}
		return z.used(ctx, node, a, usesServiceAccount)
	case "/persistentvolumeclaims":
		if a.GetSubresource() == "status" {
			return z.claimStatus(ctx, node, a)
		}
		return z.used(ctx, node, a, usesClaim)
	case "/persistentvolumes":
		return z.volume(ctx, node, a)
	case "/pods":
		return z.pods(ctx, node, a)
	case "coordination.k8s.io/leases":
		return z.lease(node, a)
	case "storage.k8s.io/csinodes":
		if name := a.GetName(); name != "" && name != node {
			return false, "can only access CSINode with the same name as the requesting node", nil
		}
	case "storage.k8s.io/volumeattachments":
		return false, "no volume is attached to nodes here", nil
	}
	return z.Rules(a), "", nil
}

const noRelation = "no relationship found between node '%s' and this object"

// used allows reading one object that a Pod of the node refers to.
func (z *Authorizer) used(ctx context.Context, node string, a authorizer.Attributes, uses func(*corev1.Pod, string) bool) (bool, string, error) {
	switch a.GetVerb() {
	case "get", "list", "watch":
	default:
		return false, "can only read resources of this type", nil
	}
	switch {
	case a.GetSubresource() != "":
		return false, "cannot read subresource", nil
	case a.GetName() == "":
		return false, "can only read namespaced object of this type", nil
	}
	return z.related(ctx, node, a, uses)
}

func (z *Authorizer) related(ctx context.Context, node string, a authorizer.Attributes, uses func(*corev1.Pod, string) bool) (bool, string, error) {
	return z.needed(ctx, node, a.GetNamespace(), func(p *corev1.Pod) bool { return uses(p, a.GetName()) })
}

func (z *Authorizer) needed(ctx context.Context, node, namespace string, fits func(*corev1.Pod) bool) (bool, string, error) {
	ok, err := z.Graph.any(ctx, node, namespace, fits)
	if !ok && err == nil {
		return false, fmt.Sprintf(noRelation, node), nil
	}
	return ok, "", err
}

func (z *Authorizer) token(ctx context.Context, node string, a authorizer.Attributes) (bool, string, error) {
	if a.GetVerb() != "create" || a.GetName() == "" {
		return false, "can only create tokens for individual service accounts", nil
	}
	return z.related(ctx, node, a, usesServiceAccount)
}

func (z *Authorizer) claimStatus(ctx context.Context, node string, a authorizer.Attributes) (bool, string, error) {
	switch a.GetVerb() {
	case "get", "update", "patch":
		return z.related(ctx, node, a, usesClaim)
	}
	return false, "can only get/update/patch this type", nil
}

// volume allows reading a PersistentVolume whose claim a Pod of the node uses.
func (z *Authorizer) volume(ctx context.Context, node string, a authorizer.Attributes) (bool, string, error) {
	if a.GetVerb() != "get" || a.GetSubresource() != "" || a.GetName() == "" {
		return false, "can only get individual resources of this type", nil
	}
	pv, err := z.Graph.client.CoreV1().PersistentVolumes().Get(ctx, a.GetName(), metav1.GetOptions{})
	if err != nil || pv.Spec.ClaimRef == nil {
		return false, fmt.Sprintf(noRelation, node), nil //nolint:nilerr // not to be told from one that is none of the node's
	}
	return z.needed(ctx, node, pv.Spec.ClaimRef.Namespace, func(p *corev1.Pod) bool { return usesClaim(p, pv.Spec.ClaimRef.Name) })
}

// pods allows a node to see its own Pods. What it writes is looked at by Restriction.
func (z *Authorizer) pods(ctx context.Context, node string, a authorizer.Attributes) (bool, string, error) {
	if a.GetSubresource() != "" || !a.IsReadOnly() {
		return z.Rules(a), "", nil
	}
	if a.GetVerb() == "get" {
		return z.related(ctx, node, a, func(p *corev1.Pod, name string) bool { return p.Name == name })
	}
	requirements, err := a.GetFieldSelector()
	if err != nil {
		return false, "can only list/watch pods with spec.nodeName field selector", nil //nolint:nilerr // the same to the asker
	}
	for _, r := range requirements {
		if r.Field == "spec.nodeName" && r.Value == node && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals || r.Operator == selection.In) {
			return true, "", nil
		}
	}
	return false, "can only list/watch pods with spec.nodeName field selector", nil
}

// lease allows a node's own Lease, its heartbeat. A create shows its name to Restriction only. The role
// has no watch; here a node may see its heartbeat come back, which is the server's for the node.
func (z *Authorizer) lease(node string, a authorizer.Attributes) (bool, string, error) {
	switch {
	case a.GetNamespace() != corev1.NamespaceNodeLease:
		return false, fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease), nil
	case a.GetVerb() != "create" && a.GetName() != node:
		return false, "can only access node lease with the same name as the requesting node", nil
	case a.GetVerb() == "list" || a.GetVerb() == "watch":
		return true, "", nil
	}
	return z.Rules(a), "", nil
}
