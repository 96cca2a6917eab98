package apiserver

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

// loopback lets the controllers of this process speak to the API server by HTTP/2 over a pipe in
// memory: the same handlers, authentication and authorization as for everybody, no sockets, no TLS.
// It also hands out the tokens by which they are known; a token lives as long as the process.
//
// Concurrency: identities are made before the server starts and only read afterwards.
type loopback struct {
	pipes chan net.Conn
	done  chan struct{}
	users map[string]user.Info // by token
}

func newLoopback() *loopback {
	return &loopback{pipes: make(chan net.Conn), done: make(chan struct{}), users: map[string]user.Info{}}
}

// config makes a client for somebody. It has no rate limit: those protect a server from strangers.
func (l *loopback) config(who user.Info) *rest.Config {
	token := rand.Text()
	l.users[token] = who
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &rest.Config{
		Host:        "http://duet",
		BearerToken: token,
		QPS:         -1,
		UserAgent:   who.GetName(),
		// Warnings are for people; a controller that writes Endpoints knows that they are deprecated.
		WarningHandler: rest.NoWarnings{},
		Transport: &http.Transport{
			Protocols: protocols,
			// Compressing would take time, and a megabyte for each answer on its way, to save nothing.
			DisableCompression: true,
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) },
		},
		ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON},
	}
}

// AuthenticateToken knows the tokens of this process.
func (l *loopback) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	who, ok := l.users[token]
	return &authenticator.Response{User: who}, ok, nil
}

func (l *loopback) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.pipes <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve answers until ctx ends.
func (l *loopback) serve(ctx context.Context, handler http.Handler) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: handler, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000},
	}
	go func() {
		<-ctx.Done()
		_ = server.Close() // ends the watches too; nothing here outlives the process
	}()
	_ = server.Serve(l) // always http.ErrServerClosed
}

// Accept, Close and Addr make the loopback a net.Listener.
func (l *loopback) Accept() (net.Conn, error) {
	select {
	case c := <-l.pipes:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and all later dials.
func (l *loopback) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

// Addr names the pipe.
func (l *loopback) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "duet" }
