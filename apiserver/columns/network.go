package columns

import (
	"slices"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/apiserver/resource"
)

// EndpointSlice prints NAME ADDRESSTYPE PORTS ENDPOINTS AGE (D4.7).
func EndpointSlice() *resource.Columns {
	return table(
		defs(text("AddressType"), text("Ports"), text("Endpoints"), ageColumn()),
		func(s *discoveryv1.EndpointSlice) []any {
			var ports, addresses []string
			for _, p := range s.Ports {
				port := orDeref(p.Name, "*")
				if p.Port != nil {
					port = strconv.Itoa(int(*p.Port))
				}
				ports = append(ports, port)
			}
			for _, e := range s.Endpoints {
				addresses = append(addresses, e.Addresses...)
			}
			return []any{
				s.Name, string(s.AddressType), or(firstFew(ports, shown, ","), unset),
				or(firstFew(addresses, shown, ","), unset), age(&s.ObjectMeta),
			}
		})
}

// Ingress prints NAME CLASS HOSTS ADDRESS PORTS AGE.
func Ingress() *resource.Columns {
	return table(
		defs(text("Class"), text("Hosts"), text("Address"), text("Ports"), ageColumn()),
		func(i *networkingv1.Ingress) []any {
			ports := "80"
			if len(i.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			return []any{
				i.Name, orDeref(i.Spec.IngressClassName, none), ingressHosts(i), ingressAddresses(i), ports,
				age(&i.ObjectMeta),
			}
		})
}

// ingressHosts is "a.example,b.example", or "*" when every rule is for any host.
func ingressHosts(i *networkingv1.Ingress) string {
	var hosts []string
	for _, r := range i.Spec.Rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	return or(firstFew(hosts, shown, ","), "*")
}

func ingressAddresses(i *networkingv1.Ingress) string {
	var addresses []string
	for _, in := range i.Status.LoadBalancer.Ingress {
		if a := or(in.IP, in.Hostname); a != "" {
			addresses = append(addresses, a)
		}
	}
	slices.Sort(addresses)
	return strings.Join(slices.Compact(addresses), ",")
}

// IngressClass prints NAME CONTROLLER PARAMETERS AGE, PARAMETERS as "Kind.group/name".
func IngressClass() *resource.Columns {
	return table(
		defs(text("Controller"), text("Parameters"), ageColumn()),
		func(c *networkingv1.IngressClass) []any {
			parameters := none
			if p := c.Spec.Parameters; p != nil {
				parameters = p.Kind
				if p.APIGroup != nil {
					parameters += "." + *p.APIGroup
				}
				parameters += "/" + p.Name
			}
			return []any{c.Name, c.Spec.Controller, parameters, age(&c.ObjectMeta)}
		})
}

// NetworkPolicy prints NAME POD-SELECTOR AGE.
func NetworkPolicy() *resource.Columns {
	return table(defs(text("Pod-Selector"), ageColumn()), func(p *networkingv1.NetworkPolicy) []any {
		return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), age(&p.ObjectMeta)}
	})
}
