package apiserver

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

// loopback lets the controllers of this process speak to the API server: a request of theirs is a call
// of its handler (see exchange), with the same authentication, authorization and encoding as
// everybody's. It also hands out the tokens by which they are known; a token lives as long as the
// process.
//
// Concurrency: identities are made before the server starts and only read afterwards. Requests may
// come at any time: those before serve wait for it, those after it fail.
type loopback struct {
	users map[string]user.Info // by token

	open    chan struct{}   // closed by serve when it has set:
	inside  context.Context //nolint:containedctx // of all requests
	handler http.Handler

	mu       sync.Mutex
	closed   bool
	requests sync.WaitGroup // none comes once closed
}

func newLoopback() *loopback {
	return &loopback{users: map[string]user.Info{}, open: make(chan struct{})}
}

// config makes a client for somebody. It has no rate limit: those protect a server from strangers.
func (l *loopback) config(who user.Info) *rest.Config {
	token := rand.Text()
	l.users[token] = who
	return &rest.Config{
		Host:        "http://duet",
		BearerToken: token,
		QPS:         -1,
		UserAgent:   who.GetName(),
		// Warnings are for people; a controller that writes Endpoints knows that they are deprecated.
		WarningHandler: rest.NoWarnings{},
		Transport:      l,
		ContentConfig:  rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON},
	}
}

// AuthenticateToken knows the tokens of this process.
func (l *loopback) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	who, ok := l.users[token]
	return &authenticator.Response{User: who}, ok, nil
}

// serve answers until ctx ends, and with it the watches. It returns when all handlers have.
func (l *loopback) serve(ctx context.Context, handler http.Handler) {
	l.inside, l.handler = ctx, handler
	close(l.open)
	<-ctx.Done()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.requests.Wait()
}

// RoundTrip makes the loopback what clients send requests by.
func (l *loopback) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-l.open:
	case <-r.Context().Done():
		discard(r)
		return nil, r.Context().Err()
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		discard(r)
		return nil, net.ErrClosed
	}
	e := newExchange(l.inside, r)
	l.requests.Go(func() { e.handle(l.handler) })
	l.mu.Unlock()
	return e.answer()
}

// discard does what a RoundTripper owes a request that it does not send.
func discard(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
