package loadbalancer

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
)

// ConfigMapName in kube-system has further pools: each entry is one, its key the name, its value as
// ParsePool reads it.
const ConfigMapName = "load-balancer-pools"

// lookAround takes up pools and nodes as they are now, and tells whether the pools have changed.
func (c *Controller) lookAround(ctx context.Context) (changed bool, err error) {
	others, err := c.others()
	if err != nil {
		return false, err
	}
	pools, problems := c.config.Pools.Against(others)
	var unread []error
	var configMap *corev1.ConfigMap
	if o, exists, err := c.deps.ConfigMap.GetStore().GetByKey(metav1.NamespaceSystem + "/" + ConfigMapName); err == nil && exists {
		configMap = o.(*corev1.ConfigMap)
		var more Pools
		more, unread = ParsePools(configMap.Data)
		more, refused := more.Against(others)
		pools, unread = append(pools, more...), append(unread, refused...)
	}
	c.complain(ctx, problems, configMap, unread)
	changed = !reflect.DeepEqual(pools, c.pools)
	c.pools = pools
	return changed, nil
}

// complain says once what is wrong with pools: with the flag's in the log, with the ConfigMap's on it.
func (c *Controller) complain(ctx context.Context, ofFlag []error, configMap *corev1.ConfigMap, ofMap []error) {
	text := fmt.Sprint(ofFlag, ofMap)
	if c.reported[surroundings] == text {
		return
	}
	c.reported[surroundings] = text
	for _, problem := range ofFlag {
		klog.FromContext(ctx).Error(problem, "Load balancer addresses not used")
	}
	for _, problem := range ofMap {
		c.deps.Events.Eventf(configMap, corev1.EventTypeWarning, "InvalidLoadBalancerPool", "Not used: %v", problem)
	}
}

// others are the addresses of the cluster that no load balancer may have.
func (c *Controller) others() (out []Range, err error) {
	for _, p := range c.config.Pods {
		out = append(out, Range{p, "the Pods"})
	}
	for _, a := range c.config.Server {
		out = append(out, Range{netip.PrefixFrom(a, a.BitLen()), "the API server"})
	}
	cidrs, err := c.deps.CIDRs.Lister().List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	for _, cidr := range cidrs {
		out = append(out, rangesOfCIDR(cidr)...)
	}
	nodes, err := c.deps.Nodes.Lister().List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list Nodes: %w", err)
	}
	c.nodes = false
	for _, node := range nodes {
		out = append(out, rangesOf(node)...)
		c.nodes = c.nodes || answers(node)
	}
	// The order decides which of several is named: always the same.
	slices.SortFunc(out, func(a, b Range) int { return cmp.Or(a.Prefix.Compare(b.Prefix), strings.Compare(a.Whose, b.Whose)) })
	return out, nil
}

func rangesOfCIDR(cidr *networkingv1.ServiceCIDR) (out []Range) {
	for _, text := range cidr.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, Range{p, "ServiceCIDR " + cidr.Name})
		}
	}
	return out
}

// rangesOf a node: its addresses, and its Pods'.
func rangesOf(node *corev1.Node) (out []Range) {
	for _, a := range node.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, Range{netip.PrefixFrom(ip, ip.BitLen()), "node " + node.Name})
		}
	}
	for _, text := range node.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, Range{p, "the Pods of node " + node.Name})
		}
	}
	return out
}

// answers tells whether a node may answer for load balancers.
func answers(node *corev1.Node) bool {
	_, excluded := node.Labels[corev1.LabelNodeExcludeBalancers]
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return !excluded && condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// surroundingsChanged has all load balancers looked at if pools have changed, and tells them when the
// last node has gone, or the first one come (D7.1).
func (c *Controller) surroundingsChanged(ctx context.Context) error {
	before, had := len(c.pools) > 0, c.nodes
	changed, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	if !changed && c.nodes == had {
		return nil
	}
	all, err := c.deps.Services.Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	for _, svc := range all {
		if !ours(svc, before) && !ours(svc, len(c.pools) > 0) {
			continue
		}
		key := svc.Namespace + "/" + svc.Name
		if changed {
			c.queue.Add(key)
		}
		switch {
		case c.nodes == had || len(c.held[key]) == 0:
		case c.nodes:
			c.deps.Events.Event(svc, corev1.EventTypeNormal, "UpdatedLoadBalancer", "Updated load balancer with new hosts")
		default:
			c.unavailable(svc)
		}
	}
	return nil
}

func (c *Controller) unavailable(svc *corev1.Service) {
	c.deps.Events.Event(svc, corev1.EventTypeWarning, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")
}
