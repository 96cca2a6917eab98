package pods

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
)

// agentPort is where an agent listens if its Node does not say.
const agentPort = 10250

// agent returns host:port of a node's agent: its first internal address, which is of the node's
// primary family. A Node without one has not been registered by its agent yet.
func agent(n *corev1.Node) (string, error) {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range n.Status.Addresses {
			if a.Type == kind && a.Address != "" {
				return net.JoinHostPort(a.Address, strconv.Itoa(portOf(n))), nil
			}
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no preferred addresses found; known addresses: %v", n.Status.Addresses))
}

func portOf(n *corev1.Node) int {
	if p := n.Status.DaemonEndpoints.KubeletEndpoint.Port; p > 0 {
		return int(p)
	}
	return agentPort
}

// location is the URL of something that the agent of a Pod's node serves.
func (n *nodes) location(ctx context.Context, pod *corev1.Pod, query url.Values, path ...string) (*url.URL, error) {
	node, err := n.Node(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	host, err := agent(node)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: "https", Host: host, Path: "/" + strings.Join(path, "/"), RawQuery: query.Encode()}, nil
}

// container checks which container of a Pod a request means; "" means the only one.
func container(pod *corev1.Pod, name string) (string, error) {
	if name != "" {
		if !hasContainer(pod, name) {
			return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
		}
		return name, nil
	}
	if len(pod.Spec.Containers) == 1 {
		return pod.Spec.Containers[0].Name, nil
	}
	text := "a container name must be specified for pod " + pod.Name
	if len(pod.Spec.Containers) > 0 {
		text += fmt.Sprintf(", choose one of: %v", names(pod.Spec.Containers))
		if len(pod.Spec.InitContainers) > 0 {
			text += fmt.Sprintf(" or one of the init containers: %v", names(pod.Spec.InitContainers))
		}
	}
	return "", apierrors.NewBadRequest(text)
}

func names(list []corev1.Container) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].Name
	}
	return out
}

func hasContainer(pod *corev1.Pod, name string) bool {
	return slices.Contains(names(pod.Spec.Containers), name) || slices.Contains(names(pod.Spec.InitContainers), name) ||
		slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

// mayCreate refuses a request whose sender may read but not create what the path stands for: GET
// opens a WebSocket to a command as well as POST does.
func (n *nodes) mayCreate(ctx context.Context) error {
	asked, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if asked.GetVerb() == "create" || n.Authorizer == nil {
		return nil
	}
	create := authorizer.AttributesRecord{
		User: asked.GetUser(), Verb: "create", Namespace: asked.GetNamespace(), APIGroup: asked.GetAPIGroup(), APIVersion: asked.GetAPIVersion(),
		Resource: asked.GetResource(), Subresource: asked.GetSubresource(), Name: asked.GetName(), ResourceRequest: true, Path: asked.GetPath(),
	}
	decision, reason, err := n.Authorizer.Authorize(ctx, create)
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil && reason == "" {
		reason = err.Error()
	}
	gr := schema.GroupResource{Resource: asked.GetResource() + "/" + asked.GetSubresource()}
	return apierrors.NewForbidden(gr, asked.GetName(),
		fmt.Errorf("user %q cannot create resource %q in the namespace %q: %s", asked.GetUser().GetName(), gr.Resource, asked.GetNamespace(), reason))
}

// errNotPermitted is said of addresses that no proxy request may reach.
var errNotPermitted = errors.New("address not allowed")

type dialControl = func(network, address string, c syscall.RawConn) error

// permitted keeps proxy requests away from the API server's own machine and from multicast.
func permitted(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !allowed(at.Addr()) {
		return errNotPermitted
	}
	return nil
}

// allowed tells whether a proxy may reach an address: not if it is unspecified, loopback, link-local
// or multicast.
func allowed(a netip.Addr) bool { return a.Unmap().IsGlobalUnicast() }
