package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Pods is what the node agent knows of its Pods. Containers are the newest attempts, those that have
// ended included; log files are .../CONTAINER/ATTEMPT.log.
type Pods interface {
	Pod(namespace, name string) (*corev1.Pod, bool)
	Pods() []*corev1.Pod
	Container(pod types.UID, name string) (id, logPath string, ok bool)
	Sandbox(pod types.UID) (id string, ok bool)
	// Addresses of a Pod, in its order; those of the node for a Pod on the node's network.
	Addresses(pod types.UID) []netip.Addr
}

// Runtime is what streams need of the runtime: a part of CRI's runtime service, and the path of a
// sandbox's network namespace, "" if that is the node's.
type Runtime interface {
	ContainerStatus(ctx context.Context, id string, verbose bool) (*cri.ContainerStatusResponse, error)
	Exec(context.Context, *cri.ExecRequest) (*cri.ExecResponse, error)
	Attach(context.Context, *cri.AttachRequest) (*cri.AttachResponse, error)
	ReopenContainerLog(ctx context.Context, id string) error
	NetworkNamespace(ctx context.Context, sandbox string) (path string, err error)
}

// Config is what the server needs.
type Config struct {
	NodeName string
	Pods     Pods
	Runtime  Runtime
	// Certificate is asked at every handshake, so that a renewed one counts at once.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Authenticator and Authorizer: see [Delegate].
	Authenticator authenticator.Request
	Authorizer    authorizer.Authorizer
	// LogDir is served below /logs/, if not empty.
	LogDir string
	// Clock is the system's if nil.
	Clock clock.PassiveClock
}

// Server serves a node's API.
type Server struct {
	config Config
	http   *http.Server
}

const (
	headerTimeout = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = time.Second
)

// New makes a server.
func New(c Config) *Server {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	s := &Server{config: c}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			ClientAuth:     tls.RequestClientCert, // verified by the authenticator
			GetCertificate: c.Certificate,
			NextProtos:     []string{"h2", "http/1.1"},
		},
	}
	return s
}

// Run serves on the listener, which it closes, and keeps the logs small, until ctx ends and the
// connections are gone.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	logger := klog.FromContext(ctx)
	s.http.ErrorLog = klog.NewStandardLogger("INFO")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.http.BaseContext = func(net.Listener) context.Context { return ctx } // ends what is followed
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { s.rotation(ctx) })
	group.Go(func() {
		<-ctx.Done()
		stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer done()
		if s.http.Shutdown(stop) != nil {
			s.http.Close()
		}
	})
	logger.Info("Serving the node's API", "address", listener.Addr())
	if err := s.http.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the node's API: %w", err)
	}
	return nil
}

// handler is the table of what there is: path, what one has to be allowed, handler.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, need permission, fn http.HandlerFunc) {
		mux.Handle(pattern, s.guard(need, fn))
	}
	handle("GET /healthz", permission{subresource: "healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	handle("GET /healthz/ping", permission{subresource: "healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	handle("GET /metrics", permission{subresource: "metrics"}, promhttp.Handler().ServeHTTP)
	handle("GET /pods", permission{subresource: "pods"}, s.pods)
	handle("GET /pods/{$}", permission{subresource: "pods"}, s.pods)
	handle("GET /containerLogs/{namespace}/{pod}/{container}", permission{subresource: "proxy"}, s.containerLogs)
	if s.config.LogDir != "" {
		files := http.StripPrefix("/logs/", http.FileServer(http.Dir(s.config.LogDir)))
		handle("GET /logs/", permission{subresource: "log"}, files.ServeHTTP)
	}
	act := permission{subresource: "proxy", verb: "create"}
	for _, method := range []string{"GET ", "POST "} {
		for pattern, fn := range map[string]http.HandlerFunc{
			"/exec/{namespace}/{pod}/{container}":         s.exec,
			"/exec/{namespace}/{pod}/{uid}/{container}":   s.exec,
			"/attach/{namespace}/{pod}/{container}":       s.attach,
			"/attach/{namespace}/{pod}/{uid}/{container}": s.attach,
			"/portForward/{namespace}/{pod}":              s.portForward,
			"/portForward/{namespace}/{pod}/{uid}":        s.portForward,
			"/connect/{namespace}/{pod}/{uid}":            s.connect,
		} {
			handle(method+pattern, act, fn)
		}
	}
	mux.Handle("/", s.guard(permission{subresource: "proxy"}, http.HandlerFunc(http.NotFound))) // no secret which paths there are, but ask first
	return mux
}
