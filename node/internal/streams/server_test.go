package streams

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/test/certs"
	"github.com/duetk8s/duet/test/eventually"
)

// pair is a key and a certificate for 127.0.0.1.
func pair(ca *certs.Authority, name string, usage x509.ExtKeyUsage) tls.Certificate {
	return ca.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

// fakeNode is an agent and a runtime.
type fakeNode struct {
	pods map[string]*corev1.Pod
	ids  map[string]string // CONTAINER: id of the only Pod's
	logs string            // directory
	ips  []netip.Addr      // of the only Pod

	mu    sync.Mutex
	url   string // of the runtime's streaming server
	asked []string
	ended bool

	reopen func() error // what the runtime does when it is to begin a log anew
}

func (n *fakeNode) ReopenContainerLog(context.Context, string) error { return n.reopen() }

func (n *fakeNode) Pod(namespace, name string) (*corev1.Pod, bool) {
	p, ok := n.pods[namespace+"/"+name]
	return p, ok
}

func (n *fakeNode) Pods() (out []*corev1.Pod) {
	for _, p := range n.pods {
		out = append(out, p)
	}
	return out
}

func (n *fakeNode) Container(_ types.UID, name string) (id, logPath string, ok bool) {
	id, ok = n.ids[name]
	return id, filepath.Join(n.logs, name, "1.log"), ok
}

func (n *fakeNode) Sandbox(uid types.UID) (string, bool) { return "sandbox", uid == "uid" }
func (n *fakeNode) Addresses(types.UID) []netip.Addr     { return n.ips }

func (n *fakeNode) ask(format string, args ...any) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, fmt.Sprintf(format, args...))
	if n.url == "" {
		return "", errors.New("container is in CONTAINER_EXITED state")
	}
	return n.url + "/token", nil
}

func (n *fakeNode) ContainerStatus(context.Context, string, bool) (*cri.ContainerStatusResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	state := cri.ContainerState_CONTAINER_RUNNING
	if n.ended {
		state = cri.ContainerState_CONTAINER_EXITED
	}
	return &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{State: state}}, nil
}

func (n *fakeNode) Exec(_ context.Context, r *cri.ExecRequest) (*cri.ExecResponse, error) {
	url, err := n.ask("exec %s %q tty=%t in=%t out=%t err=%t", r.ContainerId, r.Cmd, r.Tty, r.Stdin, r.Stdout, r.Stderr)
	return &cri.ExecResponse{Url: url}, err
}

func (n *fakeNode) Attach(_ context.Context, r *cri.AttachRequest) (*cri.AttachResponse, error) {
	url, err := n.ask("attach %s tty=%t in=%t out=%t err=%t", r.ContainerId, r.Tty, r.Stdin, r.Stdout, r.Stderr)
	return &cri.AttachResponse{Url: url}, err
}

func (n *fakeNode) NetworkNamespace(context.Context, string) (string, error) { return "", nil }

// reviews is an API server: whoever has the token "good" is "friend", who may what he may; "nobody" may nothing.
func reviews(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	switch filepath.Base(r.URL.Path) {
	case "tokenreviews":
		var review authenticationv1.TokenReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		review.Status.Authenticated = review.Spec.Token == "good"
		review.Status.User.Username = "friend"
		_ = json.NewEncoder(w).Encode(review)
	case "subjectaccessreviews":
		var review authorizationv1.SubjectAccessReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		what := review.Spec.ResourceAttributes
		right := what.Verb + " " + what.Resource + "/" + what.Subresource + " " + what.Name
		switch review.Spec.User {
		case "kube-apiserver-kubelet-client":
			review.Status.Allowed = true
		case "friend":
			review.Status.Allowed = right == "get nodes/proxy worker0"
		case "scraper":
			review.Status.Allowed = right == "get nodes/metrics worker0"
		}
		_ = json.NewEncoder(w).Encode(review)
	}
}

// serve starts a server; the function makes a client that shows a certificate of that name, if any.
func serve(t *testing.T, node *fakeNode) (string, func(name string) *http.Client, *certs.Authority) {
	t.Helper()
	ca, api := certs.New(t, "ca"), httptest.NewServer(http.HandlerFunc(reviews))
	t.Cleanup(api.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	authn, authz, err := Delegate(client, ca.PEM())
	if err != nil {
		t.Fatal(err)
	}
	serving := pair(ca, "system:node:worker0", x509.ExtKeyUsageServerAuth)
	s := New(Config{
		NodeName: "worker0", Pods: node, Runtime: node, Authenticator: authn, Authorizer: authz, LogDir: t.TempDir(),
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &serving, nil },
	})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "https://" + listener.Addr().String(), func(name string) *http.Client {
		roots := x509.NewCertPool()
		roots.AddCert(ca.Certificate)
		c := &tls.Config{RootCAs: roots}
		if name != "" {
			c.Certificates = []tls.Certificate{pair(ca, name, x509.ExtKeyUsageClientAuth)}
		}
		transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}, ca
}

func fetch(t *testing.T, client *http.Client, method, url, token string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", answer.StatusCode, strings.TrimSpace(string(body)))
}

func newNode(t *testing.T) *fakeNode {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid"}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
	pod.Spec.Containers = []corev1.Container{{Name: "main"}, {Name: "term", TTY: true}, {Name: "late"}, {Name: "bad"}, {Name: "worse"}}
	for name, reason := range map[string]string{"late": "ContainerCreating", "bad": "ErrImagePull", "worse": "ImagePullBackOff"} {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		})
	}
	n := &fakeNode{pods: map[string]*corev1.Pod{"default/web": pod}, ids: map[string]string{"main": "c1", "term": "c2"}, logs: t.TempDir()}
	for name, text := range map[string]string{"0": "old", "1": "new"} {
		file := filepath.Join(n.logs, "main", name+".log")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("2026-11-22T12:00:00.5Z stdout F "+text+"\n2026-11-22T12:00:01.5Z stderr F "+text+" 2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestWhoMayWhat(t *testing.T) {
	url, client, _ := serve(t, newNode(t))
	stranger := certs.New(t, "ca")
	for _, tt := range []struct{ name, cert, token, method, path, want string }{
		{"nobody", "", "", "GET", "/healthz", "401 Unauthorized"},
		{"bad token", "", "bad", "GET", "/healthz", "401 Unauthorized"},
		{"API server", "kube-apiserver-kubelet-client", "", "GET", "/healthz", "200 ok"},
		{"by token, nodes/proxy is enough", "", "good", "GET", "/healthz", "200 ok"},
		{"by token, its own resource only", "scraper", "", "GET", "/healthz", "403 Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[healthz proxy])"},
		{"reading is not acting, even with GET", "", "good", "GET", "/exec/default/web/main?command=id&output=1", "403 Forbidden (user=friend, verb=create, resource=nodes, subresource(s)=[proxy])"},
		{"reading is not acting", "", "good", "POST", "/portForward/default/web", "403 Forbidden (user=friend, verb=create, resource=nodes, subresource(s)=[proxy])"},
		{"reading is not connecting, even with GET", "", "good", "GET", "/connect/default/web/uid?port=80", "403 Forbidden (user=friend, verb=create, resource=nodes, subresource(s)=[proxy])"},
		{"no right at all", "nobody", "", "GET", "/pods", "403 Forbidden (user=nobody, verb=get, resource=nodes, subresource(s)=[pods proxy])"},
		{"no right, no such path", "nobody", "", "GET", "/what", "403 Forbidden (user=nobody, verb=get, resource=nodes, subresource(s)=[proxy])"},
		{"no such path", "kube-apiserver-kubelet-client", "", "GET", "/what", "404 404 page not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fetch(t, client(tt.cert), tt.method, url+tt.path, tt.token); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := fetch(t, client("scraper"), "GET", url+"/metrics", ""); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "go_goroutines") {
		t.Errorf("metrics: %.80s", got)
	}
	if got := fetch(t, client("kube-apiserver-kubelet-client"), "GET", url+"/pods", ""); !strings.Contains(got, `"kind":"PodList"`) || !strings.Contains(got, `"name":"web"`) {
		t.Errorf("pods: %.80s", got)
	}
	// A certificate of somebody else's cluster.
	c := client("")
	c.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair(stranger, "kube-apiserver-kubelet-client", x509.ExtKeyUsageClientAuth)}
	if got := fetch(t, c, "GET", url+"/healthz", ""); got != "401 Unauthorized" {
		t.Errorf("a stranger's certificate: %s", got)
	}
}

func TestContainerLogs(t *testing.T) {
	url, client, _ := serve(t, newNode(t))
	c := client("kube-apiserver-kubelet-client")
	for _, tt := range []struct{ path, want string }{
		{"web/main", "200 new\nnew 2"},
		{"web/main?tailLines=1&timestamps=true", "200 2026-11-22T12:00:01.5Z new 2"},
		{"web/main?previous=true", "200 old\nold 2"},
		{"web/main?sinceTime=2026-11-22T12:00:01Z", "200 new 2"},
		{"web/main?limitBytes=5", "200 new\nn"},
		{"web/main?stream=Stderr", "200 new 2"},
		{"web/term", "200"}, // no file yet
		{"web/term?previous=true", `400 previous terminated container "term" in pod "web" not found`},
		{"web/late", `400 container "late" in pod "web" is waiting to start: ContainerCreating`},
		{"web/bad", `400 container "bad" in pod "web" is waiting to start: image can't be pulled`},
		{"web/worse", `400 container "worse" in pod "web" is waiting to start: trying and failing to pull image`},
		{"web/init", `400 container "init" in pod "web" is not available`},
		{"web/none", `404 container "none" not found in pod "web"`},
		{"none/main", `404 pod "none" does not exist`},
		{"web/main?tailLines=-1", `422 tailLines: Invalid value: -1: must be greater than or equal to 0`},
		{"web/main?limitBytes=0", `422 limitBytes: Invalid value: 0: must be greater than 0`},
		{"web/main?sinceSeconds=x", `422 sinceSeconds: Invalid value: "x": must be a number`},
		{"web/main?sinceSeconds=1&sinceTime=2026-11-22T12:00:01Z", "422 at most one of `sinceTime` or `sinceSeconds` may be specified"},
		{"web/main?sinceTime=today", `422 sinceTime: Invalid value: "today": must be a time like 2006-01-02T15:04:05Z`},
	} {
		if got := strings.TrimSpace(fetch(t, c, "GET", url+"/containerLogs/default/"+tt.path, "")); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.path, got, tt.want)
		}
	}
}

func TestFollowedLogArrivesAtOnce(t *testing.T) {
	node := newNode(t)
	url, client, _ := serve(t, node)
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/containerLogs/default/web/main?follow=true", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client("kube-apiserver-kubelet-client").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	f, err := os.OpenFile(filepath.Join(node.logs, "main", "1.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(answer.Body)
	for _, want := range []string{"new\n", "new 2\n"} {
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Fatalf("got %q (%v), want %q", got, err, want)
		}
	}
	for _, want := range []string{"one\n", "two\n"} {
		fmt.Fprintf(f, "2026-11-22T12:00:02Z stdout F %s", want)
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
	}
	f.Close()
	node.mu.Lock()
	node.ended = true
	node.mu.Unlock()
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

// The connection is handed on to the runtime's server, in both directions.
func TestActions(t *testing.T) {
	node := newNode(t)
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := buffer.ReadString('\n')
		fmt.Fprintf(conn, "%s %s %s", r.Method, r.URL.Path, line)
	}))
	defer runtime.Close()
	url, _, ca := serve(t, node)
	host := strings.TrimPrefix(url, "https://")
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair(ca, "kube-apiserver-kubelet-client", x509.ExtKeyUsageClientAuth)}}}
	for _, tt := range []struct{ path, asked, want, down string }{
		{path: "/exec/default/web/main?command=echo&command=a+b&output=1&error=1", asked: `exec c1 ["echo" "a b"] tty=false in=false out=true err=true`, want: "101"},
		{path: "/exec/default/web/uid/main?command=sh&input=1&output=1&error=1&tty=1", asked: `exec c1 ["sh"] tty=true in=true out=true err=false`, want: "101"},
		{path: "/exec/default/web/main?command=sh&stdin=true&stdout=true", asked: `exec c1 ["sh"] tty=false in=true out=true err=false`, want: "101"},
		{path: "/attach/default/web/main?input=1&output=1&error=1&tty=1", asked: `attach c1 tty=false in=true out=true err=true`, want: "101"},
		{path: "/attach/default/web/term?output=1&error=1", asked: `attach c2 tty=true in=false out=true err=false`, want: "101"},
		{path: "/portForward/default/none", want: "404 pod does not exist"},
		{path: "/exec/default/web/main?command=sh", want: "400 you must specify at least 1 of stdin, stdout, stderr"},
		{path: "/exec/default/web/late?command=sh&output=1", want: `404 container not found ("late")`},
		{path: "/exec/default/none/main?command=sh&output=1", want: `404 pod does not exist`},
		{path: "/exec/default/web/other-uid/main?command=sh&output=1", want: `404 pod does not exist`},
		{path: "/exec/default/web/main?command=sh&output=1", down: "yes", asked: `exec c1 ["sh"] tty=false in=false out=true err=false`, want: "500 container is in CONTAINER_EXITED state"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			node.mu.Lock()
			node.asked, node.url = nil, runtime.URL
			if tt.down != "" {
				node.url = ""
			}
			node.mu.Unlock()
			conn, err := dialer.DialContext(t.Context(), "tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n", tt.path, host)
			reader := bufio.NewReader(conn)
			answer, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(answer.StatusCode)
			if answer.StatusCode != http.StatusSwitchingProtocols {
				body, _ := io.ReadAll(answer.Body)
				got += " " + strings.TrimSpace(string(body))
			} else {
				fmt.Fprintln(conn, "hello")
				if line, _ := reader.ReadString('\n'); line != "POST /token hello\n" {
					t.Errorf("through the stream: %q", line)
				}
			}
			node.mu.Lock()
			defer node.mu.Unlock()
			if asked := strings.Join(node.asked, "; "); got != tt.want || asked != tt.asked {
				t.Errorf("got %q, asked %q; want %q, %q", got, asked, tt.want, tt.asked)
			}
		})
	}
}

// TestConnect: a connection to a Pod's port, at its addresses in order, and at no others.
func TestConnect(t *testing.T) {
	v4, v6 := echo(t, "127.0.0.1"), echo(t, "::1")
	both := []netip.Addr{v4.Addr(), v6.Addr()}
	for _, tt := range []struct {
		name string
		ips  []netip.Addr
		path string
		want string
	}{
		{"the only address", both[:1], fmt.Sprintf("uid?port=%d", v4.Port()), v4.String() + " hello"},
		{"the second, the first refuses", both, fmt.Sprintf("uid?port=%d", v6.Port()), v6.String() + " hello"},
		{"the first, in the other order", []netip.Addr{both[1], both[0]}, fmt.Sprintf("uid?port=%d", v4.Port()), v4.String() + " hello"},
		{"asked for IPv4", both, fmt.Sprintf("uid?address=127.0.0.1&port=%d", v4.Port()), v4.String() + " hello"},
		{"asked for IPv6", both, fmt.Sprintf("uid?address=::1&port=%d", v6.Port()), v6.String() + " hello"},
		{"asked for, and refused", both, fmt.Sprintf("uid?address=::1&port=%d", v4.Port()), fmt.Sprintf("502 dial tcp [::1]:%d: connect: connection refused", v4.Port())},
		{"not the Pod's", both, "uid?address=127.0.0.2&port=80", `400 "127.0.0.2" is no address of the pod`},
		{"no address", both, "uid?address=localhost&port=80", `400 "localhost" is no address of the pod`},
		{"no port", both, "uid?address=::1", `400 port "" is no number of a port`},
		{"too large a port", both, "uid?port=65536", `400 port "65536" is no number of a port`},
		{"no address yet", nil, "uid?port=80", "400 the pod has no address"},
		{"the Pod of that name before", both, "uid-before?port=80", "404 pod does not exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node := newNode(t)
			node.ips = tt.ips
			url, _, ca := serve(t, node)
			if got := upgrade(t, url, ca, "/connect/default/web/"+tt.path, "tcp"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	node := newNode(t)
	node.ips = both
	url, _, ca := serve(t, node)
	if got := upgrade(t, url, ca, "/connect/default/web/uid?port=80", "SPDY/3.1"); got != "400 upgrade to tcp required" {
		t.Errorf("without an upgrade: %q", got)
	}
}

// TestConnectEnds: when the API server closes the connection that to the Pod is closed too, whether or
// not the Pod notices: it may hang, and be asked every few seconds how it is.
func TestConnectEnds(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Skip(err) // a machine without IPv6
		}
		defer listener.Close() // the connections that it has are nobody's
		at := listener.Addr().(*net.TCPAddr).AddrPort()
		node := newNode(t)
		node.ips = []netip.Addr{at.Addr()}
		url, _, ca := serve(t, node)
		for range 5 {
			conn, _ := upgraded(t, url, ca, fmt.Sprintf("/connect/default/web/uid?port=%d", at.Port()), "tcp")
			fmt.Fprint(conn, "hello")
			conn.Close()
		}
		eventually.Is(t, 10*time.Second, "connections to "+host, func() int {
			all := make([]byte, 1<<20)
			return strings.Count(string(all[:runtime.Stack(all, true)]), "(*Server).connect(")
		}, 0)
	}
}

// echo is a server that answers a line with its own address before it.
func echo(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skip(err) // a machine without IPv6
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			text, _ := bufio.NewReader(conn).ReadString('\n')
			fmt.Fprintf(conn, "%s %s", conn.LocalAddr(), text)
			conn.Close()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// upgrade asks for a path, says hello when the connection is upgraded, and returns what comes back.
func upgrade(t *testing.T, url string, ca *certs.Authority, path, protocol string) string {
	t.Helper()
	conn, answer := upgraded(t, url, ca, path, protocol)
	defer conn.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(answer.Body)
		return fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(body)))
	}
	fmt.Fprintln(conn, "hello")
	body, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

// upgraded asks for a path with an upgrade, and returns the connection and the answer.
func upgraded(t *testing.T, url string, ca *certs.Authority, path, protocol string) (net.Conn, *http.Response) {
	t.Helper()
	host, roots := strings.TrimPrefix(url, "https://"), x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair(ca, "kube-apiserver-kubelet-client", x509.ExtKeyUsageClientAuth)}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", path, host, protocol)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, answer
}
