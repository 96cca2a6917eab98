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
	"time"

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
	}{io.MultiReader(bytes.NewReader(early), client, closed{}), client})
}

// closed is read where the API server has closed a connection, which it never does in one direction only.
// A Pod that hangs would not notice if it were told of the one.
type closed struct{}

func (closed) Read([]byte) (int, error) { return 0, net.ErrClosed }

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

// attemptDelay is how long an address may be silent before the next one is tried beside it (RFC 8305, 5).
const attemptDelay = 250 * time.Millisecond

// dial connects to the first that answers, from within the network namespace at a path, "" for the node's.
func dial(ctx context.Context, namespace string, to []netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel() // of those that are still at it
	type attempt struct {
		conn net.Conn
		err  error
	}
	attempts := make(chan attempt, len(to))
	open, failed := 0, make([]string, 0, len(to))
	defer func() {
		go func() {
			for range open { // too late
				if a := <-attempts; a.conn != nil {
					a.conn.Close()
				}
			}
		}()
	}()
	for _, at := range to {
		open++
		go func() {
			var a attempt
			a.err = hostnet.Within(namespace, func() (err error) {
				a.conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
				return err
			})
			attempts <- a
		}()
		silent := time.After(attemptDelay)
		if len(failed)+open == len(to) {
			silent = nil // there is no next one
		}
		for next := false; !next && open > 0; {
			select {
			case a := <-attempts:
				open--
				if a.err == nil {
					return a.conn, nil
				}
				failed = append(failed, a.err.Error())
			case <-silent:
				next = true
			}
		}
	}
	return nil, errors.New(strings.Join(failed, "; "))
}

// join copies both ways between a connection to a Pod, which it closes, and its peer, until the Pod has
// closed it, reading from the peer fails or ctx ends. That the peer has no more to say is passed on to the
// Pod. The copying from the peer ends when the caller closes that.
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
