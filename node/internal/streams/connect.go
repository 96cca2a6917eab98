package streams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/duetk8s/duet/hostnet"
)

// connectProtocol is what a connection to this server is upgraded to: bytes.
const connectProtocol = "tcp"

// connect serves /connect/NAMESPACE/POD/UID?port=80[&address=fd00:10:244::2]: the connection goes on as one
// to that port of the Pod, at the address if one is given, else at the first of the Pod's that answers.
//
// The API server's proxies come this way, because it may have no route to Pods, while a node always has
// one to its own. No other address is dialled than those that the agent itself knows to be the Pod's.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	pod, ok := s.pod(w, r)
	if !ok {
		return
	}
	to, err := destinations(s.config.Pods.Addresses(pod.UID), r.URL.Query().Get("address"), r.URL.Query().Get("port"))
	if err == nil && !strings.EqualFold(r.Header.Get("Upgrade"), connectProtocol) {
		err = errors.New("upgrade to " + connectProtocol + " required")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	conn, err := dial(r.Context(), "", to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		conn.Close()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	_, err = fmt.Fprintf(client, "HTTP/1.1 %d %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		http.StatusSwitchingProtocols, http.StatusText(http.StatusSwitchingProtocols), connectProtocol)
	if err != nil {
		conn.Close()
		return
	}
	// Not through the buffer further on: its end would be taken for the end of the request.
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	_ = join(r.Context(), conn, struct { // whoever has ended it knows
		io.Reader
		io.Writer
	}{io.MultiReader(bytes.NewReader(early), client), client})
}

// destinations are the addresses to try for a port of a Pod that has these.
func destinations(of []netip.Addr, address, port string) ([]netip.AddrPort, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return nil, fmt.Errorf("port %q is no number of a port", port)
	}
	if address != "" {
		a, err := netip.ParseAddr(address)
		if err != nil || !slices.Contains(of, a.Unmap()) {
			return nil, fmt.Errorf("%q is no address of the pod", address)
		}
		of = []netip.Addr{a.Unmap()}
	}
	if len(of) == 0 {
		return nil, errors.New("the pod has no address")
	}
	out := make([]netip.AddrPort, len(of))
	for i, a := range of {
		out[i] = netip.AddrPortFrom(a, uint16(number))
	}
	return out, nil
}

// dial connects to the first that answers, from within the network namespace at a path, "" for the node's.
func dial(ctx context.Context, namespace string, to []netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var conn net.Conn
	var failed []string
	for _, at := range to {
		err := hostnet.Within(namespace, func() (err error) {
			conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
			return err
		})
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err.Error())
	}
	return nil, errors.New(strings.Join(failed, "; "))
}

// join copies both ways between a connection to a Pod, which it closes, and its peer, until the Pod has
// closed it or ctx ends. The copying from the peer ends when the caller closes that.
func join(ctx context.Context, pod net.Conn, peer io.ReadWriter) error {
	defer pod.Close()
	defer context.AfterFunc(ctx, func() { pod.Close() })()
	go func() {
		if _, err := io.Copy(pod, peer); err != nil {
			pod.Close()
			return
		}
		_ = pod.(*net.TCPConn).CloseWrite() // the Pod may still have something to say
	}()
	_, err := io.Copy(peer, pod)
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
