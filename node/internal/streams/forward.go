package streams

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

const (
	// forwardIdle is how long nothing may happen on a connection, forwardStart how long the streams
	// of one port may take to come.
	forwardIdle  = 4 * time.Hour
	forwardStart = 30 * time.Second
	// connectTimeout bounds the connection to the Pod, which is one of a machine with itself.
	connectTimeout = 10 * time.Second
)

// portForward serves /portForward/NAMESPACE/POD[/UID].
//
// The agent connects to the Pod by itself and does not hand this over to the runtime as it does with
// exec: containerd 1.6 tries 127.0.0.1 alone and so never reaches who listens on ::1.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod, ok := s.pod(w, r)
	if !ok {
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sandbox, ok := s.config.Pods.Sandbox(pod.UID)
	if !ok {
		http.Error(w, fmt.Sprintf("pod not found (%q)", pod.Name+"_"+pod.Namespace), http.StatusNotFound)
		return
	}
	namespace := ""
	if !pod.Spec.HostNetwork {
		if namespace, err = s.config.Runtime.NetworkNamespace(r.Context(), sandbox); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	portforward.ServePortForward(w, r, &forwarder{r.Context(), namespace}, pod.Name, string(pod.UID), options,
		forwardIdle, forwardStart, portforward.SupportedProtocols)
}

// forwarder connects to one Pod, for one request.
type forwarder struct {
	request   context.Context //nolint:containedctx // the library gives the methods none that ends
	namespace string          // path of the Pod's network namespace, "" for the node's
}

// PortForward copies between a stream of the request and a port of the Pod until the Pod closes the
// connection or the request ends. It tries the Pod's loopback address in both families: a program may
// listen in one only.
func (f *forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	number := uint16(port) //nolint:gosec // the library has checked it
	conn, err := dial(f.request, f.namespace, []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), number), netip.AddrPortFrom(netip.IPv6Loopback(), number),
	})
	if err != nil {
		return fmt.Errorf("failed to connect to port %d in the pod: %w", port, err)
	}
	if err := join(f.request, conn, stream); err != nil {
		return fmt.Errorf("forward port %d: %w", port, err)
	}
	return nil
}
