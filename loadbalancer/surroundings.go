package loadbalancer

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// ConfigMapName in kube-system has further pools: each entry is one, its key the name, its value as
// ParsePool reads it.
const ConfigMapName = "load-balancer-pools"

// lookAround takes up pools and nodes as they are now, and tells whether the pools have changed.
func (c *Controller) lookAround() (changed bool, err error) {
	others, err := c.others()
	if err != nil {
		return false, err
	}
	pools, problems := c.config.Pools.Against(others)
	var configMap *corev1.ConfigMap
	if o, exists, err := c.deps.ConfigMap.GetStore().GetByKey(metav1.NamespaceSystem + "/" + ConfigMapName); err == nil && exists {
		configMap = o.(*corev1.ConfigMap)
		more, unread := ParsePools(configMap.Data)
		more, refused := more.Against(others)
		pools = append(pools, more...)
		problems = append(unread, refused...)
	}
	c.complain(configMap, problems)
	changed = !reflect.DeepEqual(pools, c.pools)
	c.pools = pools
	return changed, nil
}

// complain says once on the ConfigMap what is wrong with its pools.
func (c *Controller) complain(configMap *corev1.ConfigMap, problems []error) {
	text := ""
	if len(problems) > 0 {
		text = errors.Join(problems...).Error()
	}
	if configMap == nil || text == "" {
		delete(c.reported, surroundings)
		return
	}
	if c.reported[surroundings] == text {
		return
	}
	c.reported[surroundings] = text
	for _, problem := range problems {
		c.deps.Events.Eventf(configMap, corev1.EventTypeWarning, "InvalidLoadBalancerPool", "Not used: %v", problem)
	}
}

// others are the addresses of the cluster that no load balancer may have.
func (c *Controller) others() (out []Range, err error) {
	for _, p := range c.config.Pods {
		out = append(out, Range{p, "the Pods"})
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
func (c *Controller) surroundingsChanged() error {
	before, had := len(c.pools) > 0, c.nodes
	changed, err := c.lookAround()
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
