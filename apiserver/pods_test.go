package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clienthttpstream "k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // what client-go returns
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	clientset "k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/streaming/pkg/httpstream"
	serverspdy "k8s.io/streaming/pkg/httpstream/spdy"
)

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "i"}}},
	}
}

// TestPodDeletion tells what a deletion leaves behind: "gone", or the seconds of grace and the generation.
//
//go:fix inline
func TestPodDeletion(t *testing.T) {
	_, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	done := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	rows := []struct {
		name    string
		node    string
		change  func(*corev1.Pod)
		deletes []*int64 // the grace that each of them asks for
		want    string
	}{
		{name: "no node", deletes: []*int64{nil}, want: "gone"},
		{name: "the Pod's own", node: "n", deletes: []*int64{nil}, want: "30 seconds, generation 2"},
		{name: "asked for", node: "n", deletes: []*int64{new(int64(5))}, want: "5 seconds, generation 2"},
		{name: "forced", node: "n", deletes: []*int64{new(int64(0))}, want: "gone"},
		{name: "negative", node: "n", deletes: []*int64{new(int64(-3))}, want: "1 seconds, generation 2"},
		{name: "again", node: "n", deletes: []*int64{nil, nil}, want: "30 seconds, generation 2"},
		{name: "shortened", node: "n", deletes: []*int64{nil, new(int64(5))}, want: "5 seconds, generation 2"},
		{name: "not lengthened", node: "n", deletes: []*int64{new(int64(5)), new(int64(50))}, want: "5 seconds, generation 2"},
		{name: "the agent's second", node: "n", deletes: []*int64{nil, new(int64(0))}, want: "gone"},
		{name: "finished", node: "n", change: done, deletes: []*int64{nil}, want: "gone"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			api := c.CoreV1().Pods("default")
			p, err := api.Create(t.Context(), pod("p", row.node), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if row.change != nil {
				row.change(p)
				if _, err := api.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			for _, grace := range row.deletes {
				if err := api.Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
					t.Fatal(err)
				}
			}
			got := "gone"
			if p, err := api.Get(t.Context(), "p", metav1.GetOptions{}); err == nil {
				got = fmt.Sprintf("%d seconds, generation %d", *p.DeletionGracePeriodSeconds, p.Generation)
				_ = api.Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
			}
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestBinding(t *testing.T) {
	_, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	api := c.CoreV1().Pods("default")
	if _, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"topology.kubernetes.io/zone": "z"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	to := func(name, node string) *corev1.Binding {
		return &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	}
	other := to("free", "n")
	other.UID = "other"
	gated := pod("gated", "")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a/b"}}
	for _, p := range []*corev1.Pod{pod("free", ""), pod("bound", "m"), gated} {
		if _, err := api.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	rows := []struct {
		name string
		b    *corev1.Binding
		want string
	}{
		{"no such Pod", to("none", "n"), `pods "none" not found`},
		{"bound already", to("bound", "n"), `Operation cannot be fulfilled on pods/binding "bound": pod bound is already assigned to node "m"`},
		{"gated", to("gated", "n"), `Operation cannot be fulfilled on pods/binding "gated": pod gated has non-empty .spec.schedulingGates`},
		{"no node", to("free", ""), `Binding "free" is invalid: target.name: Required value`},
		{
			"another Pod of that name", other,
			`Operation cannot be fulfilled on pods "free": StorageError: invalid object, Code: 4, Key: /registry/pods/default/free, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: other, UID in object meta: `,
		},
		{"free", to("free", "n"), ""},
		{"twice", to("free", "n"), `Operation cannot be fulfilled on pods/binding "free": pod free is already assigned to node "n"`},
	}
	for _, row := range rows {
		got := ""
		if err := api.Bind(t.Context(), row.b, metav1.CreateOptions{}); err != nil {
			got = err.Error()
		}
		if got != row.want && (row.want == "" || !strings.HasPrefix(got, row.want)) {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
	}
	p, err := api.Get(t.Context(), "free", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Status.Conditions; len(got) != 1 || got[0].Type != corev1.PodScheduled || got[0].Status != corev1.ConditionTrue {
		t.Errorf("conditions %v", got)
	}
	if p.Spec.NodeName != "n" || p.Generation != 1 || p.Labels["topology.kubernetes.io/zone"] != "z" {
		t.Errorf("node %q, generation %d, labels %v", p.Spec.NodeName, p.Generation, p.Labels)
	}
}

// fakeAgent answers as the agent of a node does.
func fakeAgent(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/containerLogs/default/p/main", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("previous") != "" {
			http.Error(w, `previous terminated container "main" in pod "p" not found`, http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, "log ?%s\n", r.URL.RawQuery)
	})
	mux.HandleFunc("/exec/default/p/main", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("command") == "missing" {
			http.Error(w, "container not found (\"main\")", http.StatusNotFound)
			return
		}
		streams := accept(t, w, r, []string{"v5.channel.k8s.io", "v4.channel.k8s.io"}, len(q["input"])+len(q["output"])+len(q["error"])+1)
		in, _ := io.ReadAll(streams["stdin"])
		_, _ = fmt.Fprintf(streams["stdout"], "%v got %q", q["command"], in)
		_, _ = io.WriteString(streams["error"], `{"metadata":{},"status":"Success"}`)
		for _, s := range streams {
			_ = s.Close()
		}
	})
	mux.HandleFunc("/portForward/default/p", func(w http.ResponseWriter, r *http.Request) {
		streams := accept(t, w, r, []string{"portforward.k8s.io"}, 2)
		in := make([]byte, 4)
		_, _ = io.ReadFull(streams["data"], in)
		_, _ = fmt.Fprintf(streams["data"], "port %s got %s", streams["data"].Headers().Get("port"), in)
		_ = streams["error"].Close()
		_ = streams["data"].Close()
	})
	mux.HandleFunc("POST /connect/default/{pod}/{uid}", connectPod(t))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	return mux
}

// accept upgrades to SPDY and waits for n streams; they are closed when the client has gone.
func accept(t *testing.T, w http.ResponseWriter, r *http.Request, protocols []string, n int) map[string]httpstream.Stream {
	if _, err := httpstream.Handshake(r, w, protocols); err != nil {
		t.Error(err)
		return nil
	}
	arrived := make(chan httpstream.Stream, n)
	conn := serverspdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, replied <-chan struct{}) error {
		go func() { <-replied; arrived <- s }()
		return nil
	})
	if conn == nil {
		return nil
	}
	context.AfterFunc(t.Context(), func() { _ = conn.Close() })
	streams := map[string]httpstream.Stream{}
	for range n {
		s := <-arrived
		streams[s.Headers().Get("streamType")] = s
	}
	return streams
}

// startAgent runs a fake agent at an address of either family and returns its port.
func startAgent(t *testing.T, address string, cert, key []byte, handler http.Handler) int32 {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skip(err) // a machine without IPv6
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return int32(listener.Addr().(*net.TCPAddr).Port)
}

// withAgents is a server that believes in agents which serve with a certificate, and how its
// administrator comes in from outside.
type withAgents struct {
	*Server
	client    clientset.Interface
	admin     *restclient.Config
	cert, key []byte
}

func startWithAgents(t *testing.T) *withAgents {
	t.Helper()
	cert, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv6loopback}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := dynamiccertificates.NewStaticCAContent("test", cert)
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	var address string
	s, c := startServerWith(t, newEtcd(t), func(cfg *Config) {
		cfg.ClientCA, cfg.NodeCA, address = ca, cert, cfg.Advertise
		cfg.NodeClient = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil }
	}, "10.96.0.0/16")
	w := &withAgents{Server: s, client: c, cert: cert, key: key}
	for token, who := range s.loopback.users {
		if who.GetName() == "admin" {
			w.admin = &restclient.Config{Host: "https://" + address, BearerToken: token, TLSClientConfig: restclient.TLSClientConfig{Insecure: true}}
		}
	}
	if w.admin == nil {
		t.Fatal("no administrator")
	}
	return w
}

// node makes a Node whose agent is at an address.
func (w *withAgents) node(t *testing.T, at string) *corev1.Node {
	t.Helper()
	return w.nodeWith(t, at, fakeAgent(t))
}

// nodeWith makes a Node with this agent.
func (w *withAgents) nodeWith(t *testing.T, at string, agent http.Handler) *corev1.Node {
	t.Helper()
	port := startAgent(t, at, w.cert, w.key, agent)
	node, err := w.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "n-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status = corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "nowhere"}, {Type: corev1.NodeInternalIP, Address: at}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
	}
	if _, err = w.client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return node
}

func TestPodStreams(t *testing.T) {
	s := startWithAgents(t)
	for _, at := range []string{"127.0.0.1", "::1"} {
		t.Run(at, func(t *testing.T) {
			node := s.node(t, at)
			if _, err := s.client.CoreV1().Pods("default").Create(t.Context(), pod("p", node.Name), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = s.client.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
			})
			tryLogs(t, s.Server)
			tryExec(t, s.client, s.admin)
			tryPortForward(t, s.client, s.admin)
			if got := say(s.Server, "/api/v1/nodes/"+node.Name+"/proxy/healthz"); got != "ok" {
				t.Errorf("proxy: %q", got)
			}
			if got := say(s.Server, "/api/v1/nodes/http:"+node.Name+":1/proxy/x"); !strings.HasSuffix(got, "address not allowed") {
				t.Errorf("proxy to loopback: %q", got)
			}
		})
	}
}

// say returns the body of an answer, or the message of a Status in it.
func say(s *Server, path string) string {
	w := httptest.NewRecorder()
	s.Generic.Handler.ServeHTTP(w, asAdmin(s, path))
	status := metav1.Status{}
	if err := json.Unmarshal(w.Body.Bytes(), &status); err == nil && status.Kind == "Status" {
		return fmt.Sprint(status.Code, " ", status.Message)
	}
	return w.Body.String()
}

// asAdmin is a request of the administrator's.
func asAdmin(s *Server, path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for token, who := range s.loopback.users {
		if who.GetName() == "admin" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
	return r
}

func tryLogs(t *testing.T, s *Server) {
	rows := []struct{ name, query, want string }{
		{"all", "", "log ?\n"},
		{
			"options", "follow=true&limitBytes=7&sinceSeconds=9&tailLines=3&timestamps=true&previous=false",
			"log ?follow=true&limitBytes=7&sinceSeconds=9&tailLines=3&timestamps=true\n",
		},
		{"since", "sinceTime=1970-01-01T00:00:00Z", "log ?sinceTime=1970-01-01T00%3A00%3A00Z\n"},
		{"the agent's own error", "previous=true", "400 previous terminated container \"main\" in pod \"p\" not found\n"},
		{"container", "container=x", "400 container x is not valid for pod p"},
		{"negative", "tailLines=-1", `422 PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`},
		{"since twice", "sinceSeconds=1&sinceTime=1970-01-01T00:00:00Z", "422 PodLogOptions \"p\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"},
		{"no number", "tailLines=x", `400 query parameter tailLines: strconv.ParseInt: parsing "x": invalid syntax`},
	}
	for _, row := range rows {
		if got := say(s, "/api/v1/namespaces/default/pods/p/log?"+row.query); got != row.want {
			t.Errorf("log, %s: got %q, want %q", row.name, got, row.want)
		}
	}
}

func tryExec(t *testing.T, c clientset.Interface, config *restclient.Config) {
	at := func(command ...string) *url.URL {
		u := c.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("exec").VersionedParams(
			&corev1.PodExecOptions{Stdin: true, Stdout: true, Command: command}, clientscheme.ParameterCodec).URL()
		u.Scheme, u.Host = "https", strings.TrimPrefix(config.Host, "https://")
		return u
	}
	for _, protocol := range []string{"SPDY", "WebSocket"} {
		for command, want := range map[string]string{"cat": `[cat -n] got "hello"`, "missing": "not found"} {
			var executor remotecommand.Executor
			var err error
			if protocol == "SPDY" {
				executor, err = remotecommand.NewSPDYExecutor(config, http.MethodPost, at(command, "-n"))
			} else {
				executor, err = remotecommand.NewWebSocketExecutor(config, http.MethodGet, at(command, "-n").String())
			}
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out})
			cancel()
			got := out.String()
			if err != nil {
				got += err.Error()
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s, %s: got %q (%v), want %q", protocol, command, got, err, want)
			}
		}
	}
}

func tryPortForward(t *testing.T, c clientset.Interface, config *restclient.Config) {
	u := c.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("portforward").URL()
	u.Scheme, u.Host = "https", strings.TrimPrefix(config.Host, "https://")
	through, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, config)
	if err != nil {
		t.Fatal(err)
	}
	for name, dialer := range map[string]clienthttpstream.Dialer{
		"SPDY": spdy.NewDialer(upgrader, &http.Client{Transport: through}, http.MethodPost, u), "WebSocket": tunnel,
	} {
		ready, stop := make(chan struct{}), make(chan struct{})
		forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- forwarder.ForwardPorts() }()
		select {
		case <-ready:
		case err := <-ended:
			t.Errorf("%s: %v", name, err)
			continue
		}
		ports, err := forwarder.GetPorts()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "ping")
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, err := io.ReadAll(conn)
		if string(got) != "port 8080 got ping" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		_ = conn.Close()
		close(stop)
	}
}

// TestPodStreamsRefused: what the API server says by itself, without asking a node.
func TestPodStreamsRefused(t *testing.T) {
	s, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	two := pod("two", "")
	two.Spec.Containers = append(two.Spec.Containers, corev1.Container{Name: "side", Image: "i"})
	two.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "i"}}
	for _, p := range []*corev1.Pod{two, pod("one", ""), pod("lost", "gone")} {
		if _, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	rows := []struct{ name, path, want string }{
		{"no Pod", "none/exec", `404 pods "none" not found`},
		{"which container", "two/log", "400 a container name must be specified for pod two, choose one of: [main side] or one of the init containers: [first]"},
		{"no node", "one/exec", "400 pod one does not have a host assigned"},
		{"no node yet", "one/log", ""},
		{"node gone", "lost/log", `404 nodes "gone" not found`},
		{"no address yet", "one/proxy/", "503 pod one has no address yet"},
	}
	for _, row := range rows {
		if got := say(s, "/api/v1/namespaces/default/pods/"+row.path); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}
