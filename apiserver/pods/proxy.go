package pods

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

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

// podProxy serves pods/[SCHEME:]NAME[:PORT]/proxy/PATH: HTTP to a port of a Pod.
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
	for i := 0; port == "" && i < len(pod.Spec.Containers); i++ {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	if pod.Status.PodIP == "" {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s has no address yet", name))
	}
	return p.request(scheme, pod.Status.PodIP, port, options.(*corev1.PodProxyOptions).Path, p.open, r), nil
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
		return p.request("https", host, agents, path, p.agents, r), nil
	}
	return p.request(scheme, host, port, path, p.open, r), nil
}

// request forwards one request, upgrades included; links in HTML are rewritten to go through the
// proxy too.
func (n *nodes) request(scheme, host, port, path string, through http.RoundTripper, r rest.Responder) http.Handler {
	if scheme == "" {
		scheme = "http"
	}
	at := &url.URL{Scheme: scheme, Host: host, Path: utilnet.JoinPreservingTrailingSlash("/", path)}
	switch {
	case port != "":
		at.Host = net.JoinHostPort(host, port)
	case net.ParseIP(host) != nil && net.ParseIP(host).To4() == nil:
		at.Host = "[" + host + "]"
	}
	return proxy.NewUpgradeAwareHandler(at, through, true, false, proxy.NewErrorResponder(r))
}
