package pods

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
)

var anyMethod = []string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions,
}

// podProxy serves pods/[SCHEME:]NAME[:PORT]/proxy/PATH: HTTP to a port of a Pod, at its first address
// that answers.
type podProxy struct {
	unstored
	*nodes
}

var _ rest.Connecter = podProxy{}

func (podProxy) New() runtime.Object      { return &corev1.PodProxyOptions{} }
func (podProxy) ConnectMethods() []string { return anyMethod }

func (podProxy) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodProxyOptions{}, true, "path"
}

// Connect returns the handler of one request. Without a port it goes to the first one of the Pod's
// containers, else to the scheme's own.
func (p podProxy) Connect(ctx context.Context, id string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	pod, err := p.Pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if pod.Status.PodIP == "" {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s has no address yet", name))
	}
	if err := checkAddress(pod.Status.PodIP); err != nil {
		return nil, err
	}
	to, err := p.destination(ctx, pod, "")
	if err != nil {
		return nil, err
	}
	at := hostPort(pod.Status.PodIP, containerPort(pod, port))
	return toPod(to, p.request(scheme, at, options.(*corev1.PodProxyOptions).Path, p.open, r)), nil
}

// containerPort returns the number of a port by its name, or of the first one for none; what is no
// name of one it returns as it is.
func containerPort(pod *corev1.Pod, name string) string {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if name == "" || name == p.Name {
				return strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	return name
}

// nodeProxy serves nodes/[SCHEME:]NAME[:PORT]/proxy/PATH: HTTP to the agent of a node, or to another
// of its ports.
type nodeProxy struct {
	unstored
	*nodes
}

var _ rest.Connecter = nodeProxy{}

func (nodeProxy) New() runtime.Object      { return &corev1.NodeProxyOptions{} }
func (nodeProxy) ConnectMethods() []string { return anyMethod }

func (nodeProxy) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.NodeProxyOptions{}, true, "path"
}

// Connect returns the handler of one request.
func (p nodeProxy) Connect(ctx context.Context, id string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	node, err := p.Node(ctx, name)
	if err != nil {
		return nil, err
	}
	at, err := agent(node)
	if err != nil {
		return nil, err
	}
	host, agents, err := net.SplitHostPort(at)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	path := options.(*corev1.NodeProxyOptions).Path
	if port == "" || port == agents {
		return p.request("https", at, path, p.agents, r), nil
	}
	return p.request(scheme, hostPort(host, port), path, p.open, r), nil
}

// request forwards one request, upgrades included; links in HTML are rewritten to go through the
// proxy too, and a path of nothing is answered with a redirection to "/".
func (n *nodes) request(scheme, at, path string, through http.RoundTripper, r rest.Responder) http.Handler {
	to := &url.URL{Scheme: cmp.Or(scheme, "http"), Host: at, Path: utilnet.JoinPreservingTrailingSlash("", path)}
	return proxy.NewUpgradeAwareHandler(to, through, true, false, proxy.NewErrorResponder(r))
}

// hostPort is the host of a URL; without a port it is the scheme's own.
func hostPort(host, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		return "[" + host + "]"
	}
	return host
}
