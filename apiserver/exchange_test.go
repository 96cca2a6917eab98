package apiserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// through sends one request to a handler by a loopback that serves until the test ends; stop ends it
// earlier and waits for it.
func through(t *testing.T, ctx context.Context, method string, handler http.HandlerFunc) (answer *http.Response, stop func()) { //nolint:revive // the context is the client's, not the test's
	t.Helper()
	l := newLoopback()
	inside, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.serve(inside, handler)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	r, err := http.NewRequestWithContext(ctx, method, "http://duet/path?q=1", strings.NewReader("question"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer x")
	answer, err = l.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header.Get("Authorization") == "" {
		t.Error("the handler has changed the client's request")
	}
	return answer, stop
}

func TestExchange(t *testing.T) {
	for _, row := range []struct {
		name, method string
		handler      http.HandlerFunc
		status, body string
	}{
		{"echo", "POST", func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Authorization") // as authentication does
			w.Header().Set("X-Kept", "yes")
			w.WriteHeader(http.StatusCreated)
			w.Header().Set("X-Kept", "too late")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.Copy(w, r.Body)
			_, _ = io.WriteString(w, " "+r.RequestURI)
		}, "201 Created", "question /path?q=1"},
		{"says nothing", "GET", func(http.ResponseWriter, *http.Request) {}, "200 OK", ""},
		{"no status", "GET", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, "200 OK", "x"},
		{"a head alone", "HEAD", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, "200 OK", ""},
		{"more than waits", "GET", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", 3*unread+1))
		}, "200 OK", strings.Repeat("x", 3*unread+1)},
	} {
		t.Run(row.name, func(t *testing.T) {
			answer, _ := through(t, t.Context(), row.method, row.handler)
			got, err := io.ReadAll(answer.Body)
			if err != nil || answer.Status != row.status || string(got) != row.body {
				t.Errorf("%s, %d bytes, %v; want %s, %d bytes", answer.Status, len(got), err, row.status, len(row.body))
			}
			if kept := answer.Header.Get("X-Kept"); kept != "" && kept != "yes" {
				t.Errorf("the header has what was set after the status: %q", kept)
			}
		})
	}
}

// TestExchangeStreams: what a watch flushes is read although it goes on, and each of those who can
// end it does.
func TestExchangeStreams(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(client context.CancelFunc, body io.Closer, server func())
		want error // of reading on
	}{
		{"the client's context", func(client context.CancelFunc, _ io.Closer, _ func()) { client() }, context.Canceled},
		{"the body is closed", func(_ context.CancelFunc, body io.Closer, _ func()) { _ = body.Close() }, http.ErrBodyReadAfterClose},
		{"the server ends", func(_ context.CancelFunc, _ io.Closer, server func()) { server() }, context.Canceled},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx, client := context.WithCancel(t.Context())
			defer client()
			gone := make(chan struct{})
			answer, stop := through(t, ctx, http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "event")
				w.(http.Flusher).Flush()
				<-w.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // what k8s.io/apiserver asks for
				<-r.Context().Done()
				close(gone)
			})
			event := make([]byte, 5)
			if _, err := io.ReadFull(answer.Body, event); err != nil || string(event) != "event" {
				t.Fatalf("read %q, %v", event, err)
			}
			row.end(client, answer.Body, stop)
			<-gone
			if _, err := answer.Body.Read(event); !errors.Is(err, row.want) {
				t.Errorf("reading on: %v, want %v", err, row.want)
			}
		})
	}
}

// TestExchangeContext: what a handler asks of its own server is another request, and a client whose time
// is over is told so.
func TestExchangeContext(t *testing.T) {
	type key struct{}
	seen := make(chan any, 1)
	through(t, context.WithValue(t.Context(), key{}, "of the client"), http.MethodGet, func(_ http.ResponseWriter, r *http.Request) {
		seen <- r.Context().Value(key{})
	})
	if value := <-seen; value != nil {
		t.Errorf("the handler sees what is %v", value)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	answer, _ := through(t, ctx, http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	if _, err := answer.Body.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reading on: %v", err)
	}
}

// TestExchangeWaits: a client that does not read holds the handler up, not the memory, and lets it go
// when it leaves.
func TestExchangeWaits(t *testing.T) {
	var wrote int
	ended := make(chan error, 1)
	answer, _ := through(t, t.Context(), http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		for {
			n, err := w.Write(make([]byte, 1000))
			wrote += n
			if err != nil {
				ended <- err
				return
			}
		}
	})
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || wrote > unread {
		t.Errorf("%d bytes written for nobody, %v", wrote, err)
	}
}

// TestExchangePanic: an answer that broke off is not taken for a whole one, nor does it end the server.
func TestExchangePanic(t *testing.T) {
	answer, stop := through(t, t.Context(), http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if got, err := io.ReadAll(answer.Body); string(got) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", got, err)
	}
	stop()
}

// TestLoopbackClosed: requests wait for the server, and fail after it.
func TestLoopbackClosed(t *testing.T) {
	l := newLoopback()
	ask := func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://duet/", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := l.RoundTrip(r)
		if err == nil {
			err = answer.Body.Close()
		}
		return err
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ask(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("before: %v", err)
	}
	early := make(chan error)
	go func() { early <- ask(context.Background()) }()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.serve(ctx, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}()
	if err := <-early; err != nil {
		t.Errorf("early: %v", err)
	}
	stop()
	<-ended
	if err := ask(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after: %v", err)
	}
}
