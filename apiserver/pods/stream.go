package pods

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// upgrades are the methods that open a stream: GET for WebSockets, POST for SPDY.
var upgrades = []string{http.MethodGet, http.MethodPost}

// command serves pods/NAME/exec and pods/NAME/attach: an upgraded connection to the agent of the
// Pod's node. Agents speak SPDY; what kubectl 1.31 and later says over a WebSocket is translated
// here, an older WebSocket is passed on.
type command struct {
	unstored
	*nodes
	path string // exec or attach
}

var _ rest.Connecter = command{}

// New is what discovery shows as the kind of the path.
func (c command) New() runtime.Object {
	options, _, _ := c.NewConnectOptions()
	return options
}

func (command) ConnectMethods() []string { return upgrades }

func (c command) NewConnectOptions() (runtime.Object, bool, string) {
	if c.path == "attach" {
		return &corev1.PodAttachOptions{}, false, ""
	}
	return &corev1.PodExecOptions{}, false, ""
}

// Connect returns the handler of one stream. Errors: the Pod or its node is gone, the container is
// none of the Pod's, the Pod has no node, the user may not create streams.
func (c command) Connect(ctx context.Context, name string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	if err := c.mayCreate(ctx); err != nil {
		return nil, err
	}
	o := execOptions(options)
	pod, err := c.Pod(ctx, name)
	if err != nil {
		return nil, err
	}
	target, err := container(pod, o.Container)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, noHost(name)
	}
	at, err := c.location(ctx, pod, streamQuery(o), c.path, pod.Namespace, pod.Name, target)
	if err != nil {
		return nil, err
	}
	streams := streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	return streamproxy.NewTranslatingHandler(
		c.forward(at, r), streamproxy.NewStreamTranslatorHandler(at, c.agents, 0, streams), wsstream.IsWebSocketRequestWithStreamCloseProtocol,
	), nil
}

// forward passes an upgraded connection on as it is. The agent's answer is the client's.
func (n *nodes) forward(at *url.URL, r rest.Responder) *proxy.UpgradeAwareHandler {
	h := proxy.NewUpgradeAwareHandler(at, n.agents, false, true, proxy.NewErrorResponder(r))
	h.RejectForwardingRedirects = true
	return h
}

func noHost(pod string) error {
	return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod))
}

// execOptions sees attach as exec without a command.
func execOptions(options runtime.Object) *corev1.PodExecOptions {
	if a, ok := options.(*corev1.PodAttachOptions); ok {
		return &corev1.PodExecOptions{Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, TTY: a.TTY, Container: a.Container}
	}
	return options.(*corev1.PodExecOptions)
}

// streamQuery says the options as the agent reads them: input=1&output=1&command=ls&command=-l.
func streamQuery(o *corev1.PodExecOptions) url.Values {
	q := url.Values{}
	for key, on := range map[string]bool{"input": o.Stdin, "output": o.Stdout, "error": o.Stderr, "tty": o.TTY} {
		if on {
			q.Set(key, "1")
		}
	}
	for _, word := range o.Command {
		q.Add("command", word)
	}
	return q
}

// portForward serves pods/NAME/portforward. kubectl speaks SPDY, since 1.31 inside a WebSocket.
type portForward struct {
	unstored
	*nodes
}

var _ rest.Connecter = portForward{}

func (portForward) New() runtime.Object      { return &corev1.PodPortForwardOptions{} }
func (portForward) ConnectMethods() []string { return upgrades }

func (portForward) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodPortForwardOptions{}, false, ""
}

// Connect returns the handler of one stream; errors as for exec.
func (p portForward) Connect(ctx context.Context, name string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	if err := p.mayCreate(ctx); err != nil {
		return nil, err
	}
	pod, err := p.Pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, noHost(name)
	}
	q := url.Values{}
	for _, port := range options.(*corev1.PodPortForwardOptions).Ports {
		q.Add("port", strconv.Itoa(int(port)))
	}
	at, err := p.location(ctx, pod, q, "portForward", pod.Namespace, pod.Name)
	if err != nil {
		return nil, err
	}
	handler := p.forward(at, r)
	return streamproxy.NewTranslatingHandler(
		handler, streamproxy.NewTunnelingHandler(handler), wsstream.IsWebSocketRequestWithTunnelingProtocol,
	), nil
}
