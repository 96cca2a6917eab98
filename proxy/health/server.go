package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/controllers/byservice"
	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
	"github.com/duetk8s/duet/dualstack"
)

const (
	// defaultPort is where upstream's proxy has its health, too.
	defaultPort = 10256
	// deletionTaint is on a node that is about to be taken away.
	deletionTaint = "ToBeDeletedByClusterAutoscaler"
	// headerTimeout bounds how long a client may take to ask.
	headerTimeout = 5 * time.Second
	// idleTimeout bounds how long it keeps a connection between questions; monitors ask every few seconds.
	idleTimeout = time.Minute
)

// Deps are what the server is told by. The caller runs the informers.
type Deps struct {
	Services, EndpointSlices, Nodes cache.SharedIndexInformer
	Events                          record.EventRecorder
}

// Config says which node this is.
type Config struct {
	Node string
	// Port of /healthz, /livez and /metrics; 0 is 10256.
	Port uint16
}

// Server answers on all ports.
type Server struct {
	deps     Deps
	config   Config
	gauge    *Gauge
	slices   byservice.Slices
	listener listen.Listener
	queue    *queue.Queue[string] // Services, by namespace/name; "": the server itself
	// Below: the queue's one worker's alone.
	open    map[string]*opened
	serving sync.WaitGroup
}

// New registers with the informers.
func New(deps Deps, config Config, gauge *Gauge) (*Server, error) {
	if config.Port == 0 {
		config.Port = defaultPort
	}
	s := &Server{deps: deps, config: config, gauge: gauge, open: map[string]*opened{}}
	s.queue = queue.New(s.sync)
	var err error
	if s.slices, err = byservice.New(deps.EndpointSlices); err != nil {
		return nil, fmt.Errorf("proxy health: %w", err)
	}
	s.listener.To(deps.Services, listen.Keys(s.queue.Add))
	s.listener.To(deps.EndpointSlices, listen.Both(func(slice *discoveryv1.EndpointSlice) {
		if key := byservice.Key(slice); key != "" {
			s.queue.Add(key)
		}
	}))
	if err := s.listener.Err(); err != nil {
		return nil, fmt.Errorf("proxy health: %w", err)
	}
	return s, nil
}

// Run answers until ctx ends; then all ports are closed.
func (s *Server) Run(ctx context.Context) error {
	defer func() {
		for _, o := range s.open {
			o.close()
		}
		s.serving.Wait()
	}()
	s.queue.Add("")
	if s.listener.Synced(ctx) {
		s.queue.Run(ctx, 1)
	}
	return nil
}

// sync opens and closes what a Service, or the server itself, has.
func (s *Server) sync(ctx context.Context, key string) error {
	want, handler, svc := Check{}, http.Handler(nil), (*corev1.Service)(nil)
	if key == "" {
		want, handler = Check{Port: s.config.Port, Local: map[dualstack.Family]int{dualstack.IPv4: 0, dualstack.IPv6: 0}}, s.own()
	} else {
		if o, ok, err := s.deps.Services.GetStore().GetByKey(key); err == nil && ok {
			svc = o.(*corev1.Service)
			want = Wanted(svc, s.slices.Of(key), s.config.Node)
		}
	}
	now := s.open[key]
	switch {
	case want.Port == 0 && now == nil:
		return nil
	case now != nil && now.port() != want.Port:
		s.closed(key)
		now = nil
		if want.Port == 0 {
			return nil
		}
	}
	if now == nil {
		now = &opened{servers: map[dualstack.Family]*http.Server{}, key: key, gauge: s.gauge, handler: handler, serving: &s.serving}
		s.open[key] = now
	}
	now.set(want)
	changed, err := now.adjust(ctx)
	s.gauge.metrics.healthPorts.Add(float64(changed))
	if err != nil && svc != nil && !now.failed {
		s.deps.Events.Eventf(svc, corev1.EventTypeWarning, "FailedToStartServiceHealthcheck",
			"node %s failed to start healthcheck %q on port %d: %v", s.config.Node, key, want.Port, err)
	}
	now.failed = err != nil
	return err
}

func (s *Server) closed(key string) {
	s.gauge.metrics.healthPorts.Sub(float64(len(s.open[key].servers)))
	s.open[key].close()
	delete(s.open, key)
}

// own is what the server says about the proxy.
func (s *Server) own() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.gauge.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, nil) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, new(s.eligible())) })
	return mux
}

// eligible tells whether load balancers may send anything to the node: not if it is being deleted or
// about to be.
func (s *Server) eligible() bool {
	o, ok, err := s.deps.Nodes.GetStore().GetByKey(s.config.Node)
	if err != nil || !ok {
		return !s.deps.Nodes.HasSynced()
	}
	node := o.(*corev1.Node)
	for _, t := range node.Spec.Taints {
		if t.Key == deletionTaint {
			return false
		}
	}
	return node.DeletionTimestamp == nil
}

// familyHealth is what /healthz says of one family. Both are written in one transaction, so they never
// differ.
type familyHealth struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

func (s *Server) answer(w http.ResponseWriter, eligible *bool) {
	now := s.gauge.now()
	healthy, updated := s.gauge.state(now)
	f := familyHealth{updated, healthy}
	code := http.StatusOK
	if !healthy || eligible != nil && !*eligible {
		code = http.StatusServiceUnavailable
	}
	reply(w, code, struct {
		LastUpdated  time.Time                         `json:"lastUpdated"`
		CurrentTime  time.Time                         `json:"currentTime"`
		NodeEligible *bool                             `json:"nodeEligible,omitempty"`
		Healthy      bool                              `json:"healthy"`
		Status       map[dualstack.Family]familyHealth `json:"status"`
	}{updated, now, eligible, healthy, map[dualstack.Family]familyHealth{dualstack.IPv4: f, dualstack.IPv6: f}})
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	text, err := json.MarshalIndent(body, "", "\t")
	if err != nil {
		panic(err) // strings, numbers and times
	}
	_, _ = w.Write(append(text, '\n'))
}

// opened is a port in the families in which it is open.
type opened struct {
	key     string
	gauge   *Gauge
	servers map[dualstack.Family]*http.Server
	handler http.Handler // nil: what there is to say about a Service
	serving *sync.WaitGroup
	failed  bool // somewhere, when it was tried last

	mu   sync.Mutex
	want Check
}

func (o *opened) port() uint16 { return o.want.Port }

func (o *opened) set(c Check) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want = c
}

// adjust opens and closes, family by family, and returns by how many sockets there are more.
func (o *opened) adjust(ctx context.Context) (changed int, _ error) {
	var errs []error
	for _, f := range dualstack.Families() {
		_, want := o.want.Local[f]
		server := o.servers[f]
		switch {
		case want && server == nil:
			server, err := o.listen(ctx, f)
			if err != nil || server == nil {
				errs = append(errs, err)
				continue
			}
			o.servers[f] = server
			changed++
		case !want && server != nil:
			_ = server.Close()
			delete(o.servers, f)
			changed--
		}
	}
	return changed, errors.Join(errs...)
}

// listen answers on all addresses of a family; nil where the machine does not have that family.
func (o *opened) listen(ctx context.Context, f dualstack.Family) (*http.Server, error) {
	network := map[dualstack.Family]string{dualstack.IPv4: "tcp4", dualstack.IPv6: "tcp6"}[f]
	listener, err := (&net.ListenConfig{}).Listen(ctx, network, ":"+strconv.Itoa(int(o.want.Port)))
	if errors.Is(err, syscall.EAFNOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	handler := o.handler
	if handler == nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { o.answer(w, f) })
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout}
	o.serving.Go(func() { _ = server.Serve(listener) }) // until it is closed
	return server, nil
}

// answer says whether the node has endpoints of the Service in a family.
func (o *opened) answer(w http.ResponseWriter, f dualstack.Family) {
	o.mu.Lock()
	local := o.want.Local[f]
	o.mu.Unlock()
	healthy, _ := o.gauge.state(o.gauge.now())
	code := http.StatusOK
	if local == 0 || !healthy {
		code = http.StatusServiceUnavailable
	}
	namespace, name, _ := cache.SplitMetaNamespaceKey(o.key)
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	reply(w, code, struct {
		Service service `json:"service"`
		Local   int     `json:"localEndpoints"`
		Healthy bool    `json:"serviceProxyHealthy"`
	}{service{namespace, name}, local, healthy})
}

func (o *opened) close() {
	for _, server := range o.servers {
		_ = server.Close()
	}
}
