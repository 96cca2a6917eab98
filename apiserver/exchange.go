package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"

	"k8s.io/klog/v2"
)

// unread is how many bytes of an answer may wait for the client, as on a connection.
const unread = 64 << 10

// exchange is one request and its answer without a connection in between: what the handler writes goes
// to whoever reads the body. To the handler it is as HTTP/2 would be: the context ends when the client
// goes away, Flush shows what was written, Write waits for a client that does not read.
//
// A connection in memory with HTTP/2 on it passes each request through a dozen goroutines, which took
// longer than most handlers.
//
// Concurrency: the handler's goroutine writes, the client's reads and closes, either may end first.
type exchange struct {
	asked   *http.Request // the client's
	request *http.Request // as the handler sees it
	header  http.Header   // the handler's alone
	cancel  context.CancelFunc

	begun chan struct{} // closed when the client may see the answer:
	once  sync.Once
	mu    sync.Mutex
	moved sync.Cond // on mu: something below has changed

	status int
	sent   http.Header // as it was when the status was
	body   []byte      // what is not read yet
	ended  error       // what reading ends with after that: io.EOF, or why there is no more
	closed bool        // nobody reads any more
}

// newExchange makes the request that a handler gets. It ends with ctx, or when the client's context does,
// whose values the handler does not see: they may be those of another request that is being answered.
func newExchange(ctx context.Context, r *http.Request) *exchange {
	e := &exchange{asked: r, header: http.Header{}, begun: make(chan struct{})}
	e.moved.L = &e.mu
	ctx, cancel := context.WithCancel(ctx)
	e.request = r.Clone(ctx)
	e.request.Proto, e.request.ProtoMajor, e.request.ProtoMinor = "HTTP/2.0", 2, 0
	e.request.RequestURI, e.request.RemoteAddr = r.URL.RequestURI(), "duet"
	e.request.URL.Scheme, e.request.URL.Host = "", ""
	if r.Body == nil {
		e.request.Body = http.NoBody
	}
	leaves := context.AfterFunc(r.Context(), cancel)
	ends := context.AfterFunc(ctx, func() { e.end(e.gone()) })
	e.cancel = func() { ends(); leaves(); cancel() }
	return e
}

// gone is why there is nobody to answer or to be answered any more, nil as long as there is.
func (e *exchange) gone() error { return cmp.Or(e.asked.Context().Err(), e.request.Context().Err()) }

// handle has a handler write the answer.
func (e *exchange) handle(handler http.Handler) {
	defer func() {
		end := io.EOF
		if p := recover(); p != nil { // as a server of connections does: only this one is lost
			end = io.ErrUnexpectedEOF
			if p != http.ErrAbortHandler { //nolint:errorlint // panics are compared so everywhere
				klog.FromContext(e.request.Context()).Error(nil, "Handler panicked", "path", e.request.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
		} else if gone := e.gone(); gone != nil { // it may have ended because of that
			end = gone
		} else {
			e.WriteHeader(http.StatusOK)
		}
		e.end(end)
		e.cancel()
		_ = e.request.Body.Close()
	}()
	handler.ServeHTTP(e, e.request)
}

// answer waits until there is one.
func (e *exchange) answer() (*http.Response, error) {
	<-e.begun
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status == 0 {
		return nil, e.ended
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", e.status, http.StatusText(e.status)), StatusCode: e.status,
		Proto: e.request.Proto, ProtoMajor: e.request.ProtoMajor, Header: e.sent,
		Body: body{e}, ContentLength: -1, Request: e.asked,
	}, nil
}

// show lets the client see the answer so far.
func (e *exchange) show() { e.once.Do(func() { close(e.begun) }) }

// end says that nothing more comes, and why; the first reason counts.
func (e *exchange) end(why error) {
	e.mu.Lock()
	if e.ended == nil {
		e.ended = why
	}
	e.mu.Unlock()
	e.moved.Broadcast()
	e.show()
}

// Header makes the exchange an [http.ResponseWriter].
func (e *exchange) Header() http.Header { return e.header }

// WriteHeader sets the status, the first time.
func (e *exchange) WriteHeader(status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status == 0 {
		e.status, e.sent = status, e.header.Clone()
	}
}

// Write waits while the client has more than enough to read.
func (e *exchange) Write(p []byte) (n int, err error) {
	e.WriteHeader(http.StatusOK)
	if e.request.Method == http.MethodHead {
		return len(p), nil // what would be written, not what is
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch room := min(unread-len(e.body), len(p)-n); {
		case e.ended != nil:
			return n, e.ended
		case e.closed:
			return n, io.ErrClosedPipe
		case room > 0:
			e.body = append(e.body, p[n:n+room]...)
			n += room
			e.moved.Broadcast()
		case n == len(p):
			return n, nil
		default:
			e.show()
			e.moved.Wait()
		}
	}
}

// Flush lets the client see the answer although the handler goes on.
func (e *exchange) Flush() {
	e.WriteHeader(http.StatusOK)
	e.show()
}

// CloseNotify is how k8s.io/apiserver recognises what can flush; it listens to the context.
func (e *exchange) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(e.request.Context(), func() { gone <- true })
	return gone
}

// body is an exchange as its client reads it.
type body struct{ *exchange }

// Read waits for something to read.
func (b body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(p) > 0 && len(b.body) == 0 {
		switch {
		case b.closed:
			return 0, http.ErrBodyReadAfterClose
		case b.ended != nil:
			return 0, b.ended
		}
		b.moved.Wait()
	}
	n := copy(p, b.body)
	if b.body = b.body[n:]; len(b.body) == 0 {
		b.body = nil // the room is the next Write's to make
	}
	b.moved.Broadcast()
	return n, nil
}

// Close tells the handler that nobody listens.
func (b body) Close() error {
	b.mu.Lock()
	b.closed, b.body = true, nil
	b.mu.Unlock()
	b.moved.Broadcast()
	b.cancel()
	return nil
}
