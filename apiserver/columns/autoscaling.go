package columns

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	row "github.com/duetk8s/duet/apiserver/resource"
)

// HorizontalPodAutoscaler prints NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE.
func HorizontalPodAutoscaler() *row.Columns {
	return table(
		defs(text("Reference"), text("Targets"), text("MinPods"), text("MaxPods"), text("Replicas"), ageColumn()),
		func(h *autoscalingv2.HorizontalPodAutoscaler) []any {
			ref := h.Spec.ScaleTargetRef
			least := unset
			if h.Spec.MinReplicas != nil {
				least = fmt.Sprint(*h.Spec.MinReplicas)
			}
			return []any{
				h.Name, ref.Kind + "/" + ref.Name, targets(h), least, int64(h.Spec.MaxReplicas),
				int64(h.Status.CurrentReplicas), age(&h.ObjectMeta),
			}
		})
}

// targets is "cpu: 12%/80%, 4/10 (avg)": current over wanted, the first two metrics.
func targets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	var items []string
	for i, spec := range h.Spec.Metrics {
		var status autoscalingv2.MetricStatus
		if i < len(h.Status.CurrentMetrics) {
			status = h.Status.CurrentMetrics[i]
		}
		items = append(items, target(spec, status))
	}
	return or(firstFew(items, 2, ", "), none)
}

func target(spec autoscalingv2.MetricSpec, status autoscalingv2.MetricStatus) string {
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		name, current := string(deref(spec.Resource).Name)+": ", deref(status.Resource).Current
		return name + utilization(current, deref(spec.Resource).Target)
	case autoscalingv2.ContainerResourceMetricSourceType:
		name, current := string(deref(spec.ContainerResource).Name)+": ", deref(status.ContainerResource).Current
		return name + utilization(current, deref(spec.ContainerResource).Target)
	case autoscalingv2.PodsMetricSourceType:
		return quantity(deref(status.Pods).Current.AverageValue) + "/" + quantity(deref(spec.Pods).Target.AverageValue)
	case autoscalingv2.ObjectMetricSourceType:
		return value(deref(status.Object).Current, deref(spec.Object).Target)
	case autoscalingv2.ExternalMetricSourceType:
		return value(deref(status.External).Current, deref(spec.External).Target)
	}
	return "<unknown type>"
}

// utilization is "12%/80%", or "200m/500m" for a target in units.
func utilization(current autoscalingv2.MetricValueStatus, wanted autoscalingv2.MetricTarget) string {
	if wanted.AverageValue != nil {
		return quantity(current.AverageValue) + "/" + wanted.AverageValue.String()
	}
	percent := func(p *int32, otherwise string) string {
		if p == nil {
			return otherwise
		}
		return fmt.Sprintf("%d%%", *p)
	}
	return percent(current.AverageUtilization, unknown) + "/" + percent(wanted.AverageUtilization, "<auto>")
}

// value is "4/10", or "4/10 (avg)" for a target per Pod.
func value(current autoscalingv2.MetricValueStatus, wanted autoscalingv2.MetricTarget) string {
	if wanted.AverageValue != nil {
		return quantity(current.AverageValue) + "/" + wanted.AverageValue.String() + " (avg)"
	}
	return quantity(current.Value) + "/" + quantity(wanted.Value)
}

func quantity(q *resource.Quantity) string {
	if q == nil {
		return unknown
	}
	return q.String()
}
