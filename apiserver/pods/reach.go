package pods

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// destination is a Pod that a request goes to. Its node's agent makes the connection: the API server
// may have no route to Pods.
type destination struct {
	agent   string // host:port
	pod     *corev1.Pod
	address string          // of the Pod; "" lets the agent choose
	request context.Context //nolint:containedctx // http.Transport connects with one that does not end with the request's
}

const (
	// agentTimeout bounds how long an agent may take to make a connection; it tries for less itself.
	agentTimeout = 30 * time.Second
	// maxHead is how many bytes an agent may say before the connection is one of bytes.
	maxHead = 64 << 10
)

type destinationKey struct{}

// toPod has the connections of a handler's requests made by the agent of a Pod's node.
func toPod(d destination, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.request = r.Context()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), destinationKey{}, d)))
	})
}

// destination finds the agent of a Pod's node.
func (n *nodes) destination(ctx context.Context, pod *corev1.Pod, address string) (destination, error) {
	node, err := n.Node(ctx, pod.Spec.NodeName)
	if err != nil {
		return destination{}, err
	}
	host, err := agent(node)
	return destination{agent: host, pod: pod, address: address}, err
}

// dial connects to an address: of the Pod that the context says, or, without one, of a node.
func (n *nodes) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d, ok := ctx.Value(destinationKey{}).(destination); ok {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return n.dialPod(d, port)
	}
	return direct(permitted).DialContext(ctx, network, address)
}

// dialPod asks the agent for a connection to a port of a Pod:
//
//	POST /connect/default/web-0/UID?port=80&address=10.244.1.5 HTTP/1.1
//	Upgrade: tcp
//
// It gives up when the request ends.
func (n *nodes) dialPod(d destination, port string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.request, agentTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{NetDialer: direct(nil), Config: n.agents.TLSClientConfig}).DialContext(ctx, "tcp", d.agent)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	query := url.Values{"port": {port}}
	if d.address != "" {
		query.Set("address", d.address)
	}
	at := url.URL{Scheme: "https", Host: d.agent, Path: strings.Join([]string{"/connect", d.pod.Namespace, d.pod.Name, string(d.pod.UID)}, "/"), RawQuery: query.Encode()}
	reader, err := upgrade(ctx, conn, at.String())
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &upgraded{conn, reader}, nil
}

// upgrade makes a connection that speaks HTTP one of bytes, which are read from the reader.
func upgrade(ctx context.Context, conn net.Conn, at string) (io.Reader, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"tcp"}}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxHead}
	reader := bufio.NewReader(limited)
	answer, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		limited.N = math.MaxInt64
		return reader, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil || len(text) == 0 {
		return nil, fmt.Errorf("the node's agent answered %s", answer.Status)
	}
	return nil, errors.New(strings.TrimSpace(string(text)))
}

// upgraded reads first what had been read too much.
type upgraded struct {
	net.Conn
	io.Reader
}

func (u *upgraded) Read(p []byte) (int, error) { return u.Reader.Read(p) }

// checkAddress keeps proxies away from what is no address of a Pod, whoever has written it there.
func checkAddress(text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil || !allowed(a) {
		return apierrors.NewBadRequest(errNotPermitted.Error())
	}
	return nil
}
