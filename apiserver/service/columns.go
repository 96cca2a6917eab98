package service

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/duetk8s/duet/apiserver/resource"
)

// none stands for an empty cell.
const none = "<none>"

// Columns are what `kubectl get services` prints (A11.1, A11.2):
//
//	NAME  TYPE          CLUSTER-IP  EXTERNAL-IP       PORT(S)       AGE  SELECTOR (wide)
//	lb    LoadBalancer  10.96.0.7   192.0.2.1,2001…   80:30080/TCP  5m   app=web
//
// A load balancer's addresses are whole: a server cannot know whether kubectl prints wide, so
// upstream's does not cut them to 16 characters either, although its printer could (A11.2, F19).
func Columns() *resource.Columns {
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	meta := metav1.ObjectMeta{}.SwaggerDoc()
	return &resource.Columns{
		Definitions: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: meta["name"]},
			{Name: "Type", Type: "string", Description: doc["type"]},
			{Name: "Cluster-IP", Type: "string", Description: doc["clusterIP"]},
			{Name: "External-IP", Type: "string", Description: doc["externalIPs"]},
			{Name: "Port(s)", Type: "string", Description: doc["ports"]},
			{Name: "Age", Type: "string", Description: meta["creationTimestamp"]},
			{Name: "Selector", Type: "string", Priority: 1, Description: doc["selector"]},
		},
		Row: func(obj runtime.Object) []any { return row(obj.(*corev1.Service)) },
	}
}

// row has one cell per definition.
func row(svc *corev1.Service) []any {
	return []any{
		svc.Name,
		string(svc.Spec.Type),
		clusterIPCell(svc),
		externalIPCell(svc),
		portsCell(svc.Spec.Ports),
		metatable.ConvertToHumanReadableDateType(svc.CreationTimestamp),
		labels.FormatLabels(svc.Spec.Selector),
	}
}

// clusterIPCell shows the first address alone, as kubectl does (A11.1, F19).
func clusterIPCell(svc *corev1.Service) string {
	switch {
	case len(svc.Spec.ClusterIPs) > 0:
		return svc.Spec.ClusterIPs[0]
	case svc.Spec.ClusterIP != "":
		return svc.Spec.ClusterIP
	default:
		return none
	}
}

// externalIPCell shows where the Service is reached from outside (A11.2).
func externalIPCell(svc *corev1.Service) string {
	switch svc.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return join(svc.Spec.ExternalIPs)
	case corev1.ServiceTypeExternalName:
		return svc.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		if cells := append(ingressAddresses(svc), svc.Spec.ExternalIPs...); len(cells) > 0 {
			return strings.Join(cells, ",")
		}
		return "<pending>"
	default:
		return "<unknown>"
	}
}

// ingressAddresses of a load balancer, each an IP or else a hostname, sorted and unique.
func ingressAddresses(svc *corev1.Service) []string {
	var addresses []string
	for i := range svc.Status.LoadBalancer.Ingress {
		switch ingress := &svc.Status.LoadBalancer.Ingress[i]; {
		case ingress.IP != "":
			addresses = append(addresses, ingress.IP)
		case ingress.Hostname != "":
			addresses = append(addresses, ingress.Hostname)
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

// portsCell is "80/TCP,443:30443/TCP" (A11.1).
func portsCell(ports []corev1.ServicePort) string {
	var cells []string
	for i := range ports {
		number := fmt.Sprint(ports[i].Port)
		if ports[i].NodePort > 0 {
			number = fmt.Sprintf("%d:%d", ports[i].Port, ports[i].NodePort)
		}
		cells = append(cells, number+"/"+string(ports[i].Protocol))
	}
	return join(cells)
}

// join with commas, none if empty.
func join(list []string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ",")
}
