package pods

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	serviceproxy "k8s.io/apiserver/pkg/util/proxy"
)

// serviceProxy serves services/[SCHEME:]NAME[:PORT]/proxy/PATH: HTTP to one of the Pods behind a
// Service, any of the ready ones, of the Service's first family as long as that has one.
type serviceProxy struct {
	unstored
	*nodes
}

var _ rest.Connecter = serviceProxy{}

func (serviceProxy) New() runtime.Object      { return &corev1.ServiceProxyOptions{} }
func (serviceProxy) ConnectMethods() []string { return anyMethod }

func (serviceProxy) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.ServiceProxyOptions{}, true, "path"
}

// Connect returns the handler of one request. Errors: no such Service, or 503 where it has no such
// port or nobody answers at it. Without a port it is the one without a name.
func (p serviceProxy) Connect(ctx context.Context, id string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	svc, err := p.Service(ctx, name)
	if err != nil {
		return nil, err
	}
	if port, err = portName(svc, port); err != nil {
		return nil, err
	}
	list, err := p.Slices(genericapirequest.NamespaceValue(ctx), name)
	if err != nil {
		return nil, err
	}
	var to destination
	at, err := serviceproxy.RandomEndpoint(name, slices.Clone(list), port, firstFamily(svc), func(e *discoveryv1.Endpoint) bool {
		pod := p.podOf(ctx, e)
		if pod == nil {
			return false
		}
		to, err = p.destination(ctx, pod, e.Addresses[0])
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return toPod(to, p.request(scheme, at, options.(*corev1.ServiceProxyOptions).Path, p.open, r)), nil
}

// portName returns the name of a Service's port that is given by its number or its name.
func portName(svc *corev1.Service, port string) (string, error) {
	number, err := strconv.ParseInt(port, 10, 64)
	if err != nil {
		return port, nil //nolint:nilerr // it is a name
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return int64(p.Port) == number })
	if i < 0 {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, svc.Name))
	}
	return svc.Spec.Ports[i].Name, nil
}

func firstFamily(svc *corev1.Service) corev1.IPFamily {
	if len(svc.Spec.IPFamilies) == 0 {
		return corev1.IPFamilyUnknown
	}
	return svc.Spec.IPFamilies[0]
}

// podOf returns the Pod that an endpoint stands for, nil if it does not: whoever may write
// EndpointSlices must not choose where the API server connects to.
func (n *nodes) podOf(ctx context.Context, e *discoveryv1.Endpoint) *corev1.Pod {
	ref := e.TargetRef
	if ref == nil || ref.Kind != "Pod" || cmp.Or(ref.Namespace, genericapirequest.NamespaceValue(ctx)) != genericapirequest.NamespaceValue(ctx) {
		return nil
	}
	pod, err := n.Pod(ctx, ref.Name)
	if err != nil || ref.UID != "" && ref.UID != pod.UID || pod.Spec.NodeName == "" || checkAddress(e.Addresses[0]) != nil {
		return nil
	}
	if !slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == e.Addresses[0] }) {
		return nil
	}
	return pod
}
