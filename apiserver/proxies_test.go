package apiserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"

	"github.com/duetk8s/duet/test/eventually"
)

// connectPod is the part of a fake agent that connects to Pods. Behind each is a server that says who
// was asked what; port 443 has TLS, and at port 81 nobody listens.
func connectPod(t *testing.T) http.HandlerFunc {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	t.Cleanup(cert.Close)
	return func(w http.ResponseWriter, r *http.Request) {
		address, port := r.URL.Query().Get("address"), r.URL.Query().Get("port")
		if r.Header.Get("Upgrade") != "tcp" || r.PathValue("uid") == "" {
			http.Error(w, "no upgrade, or no UID", http.StatusBadRequest)
			return
		}
		if port == "81" {
			http.Error(w, "dial tcp 10.244.1.5:81: connect: connection refused", http.StatusBadGateway)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: behind(r.PathValue("pod") + " " + address + " " + port)}
		if port == "443" {
			conn = tls.Server(conn, cert.TLS)
		}
		go func() { _ = server.Serve(&once{conn, make(chan struct{}, 1), make(chan struct{})}) }()
		context.AfterFunc(t.Context(), func() { _ = server.Close(); conn.Close() })
	}
}

// behind is a server that says its name and what it was asked.
type behind string

func (b behind) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "echo" {
		conn, buffer, _ := http.NewResponseController(w).Hijack()
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffer.ReadString('\n')
		_, _ = fmt.Fprintf(conn, "%s says %s", b, line)
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Location", "/moved")
	_, _ = fmt.Fprintf(w, "%s: %s %s %s", b, r.Method, r.URL, body)
}

// once is a listener that has one connection.
type once struct {
	net.Conn
	taken, closed chan struct{}
}

func (o *once) Accept() (net.Conn, error) {
	select {
	case o.taken <- struct{}{}:
		return o.Conn, nil
	case <-o.closed:
		return nil, net.ErrClosed
	}
}

func (o *once) Close() error   { close(o.closed); return nil }
func (o *once) Addr() net.Addr { return o.LocalAddr() }

// pod puts a Pod with these addresses onto a node.
func (w *withAgents) pod(t *testing.T, name, node string, ips ...string) *corev1.Pod {
	t.Helper()
	p := pod(name, node)
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}, {Name: "secure", ContainerPort: 443}}
	p, err := w.client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(ips) > 0 {
		p.Status.PodIP = ips[0]
	}
	if p, err = w.client.CoreV1().Pods("default").UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// service makes a Service with ports web, secure and closed, and slices of endpoints, one for each:
// "pod address", "-" before those that are not ready.
func (w *withAgents) service(t *testing.T, name string, families []corev1.IPFamily, uids map[string]types.UID, endpoints ...string) {
	t.Helper()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, IPFamilies: families, IPFamilyPolicy: new(corev1.IPFamilyPolicySingleStack),
	}}
	if len(families) > 1 {
		svc.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack)
	}
	ports := []discoveryv1.EndpointPort{}
	for number, port := range map[int32]corev1.ServicePort{
		8080: {Name: "web", Port: 80}, 443: {Name: "secure", Port: 443}, 81: {Name: "closed", Port: 81},
	} {
		port.TargetPort = intstr.FromInt32(number)
		svc.Spec.Ports = append(svc.Spec.Ports, port)
		ports = append(ports, discoveryv1.EndpointPort{Name: new(port.Name), Port: new(number)})
	}
	if _, err := w.client.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		pod, address, _ := strings.Cut(strings.TrimPrefix(e, "-"), " ")
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{GenerateName: name + "-", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: ports,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(!strings.HasPrefix(e, "-"))}}},
		}
		if strings.Contains(address, ":") {
			slice.AddressType = discoveryv1.AddressTypeIPv6
		}
		if pod != "none" {
			slice.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: pod, UID: uids[pod]}
		}
		if _, err := w.client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProxies: what the API server's proxies reach, and what they say of what they do not.
func TestProxies(t *testing.T) {
	s := startWithAgents(t)
	for _, agentAt := range []string{"127.0.0.1", "::1"} {
		n := s.node(t, agentAt).Name
		t.Run(agentAt, func(t *testing.T) { tryProxies(t, s, n) })
	}
}

// makeProxied makes Pods on a node and Services before them.
func makeProxied(t *testing.T, s *withAgents, node string) {
	t.Helper()
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	uids := map[string]types.UID{"replaced": "of-another"}
	for name, ips := range map[string][]string{
		"p4": {"10.244.1.4"}, "p6": {"fd00:10:244:1::6"}, "p46": {"10.244.1.5", "fd00:10:244:1::5"}, "p64": {"fd00:10:244:1::7", "10.244.1.7"},
		"replaced": {"10.244.1.8"}, "starting": nil, "a4": {"10.244.1.14"}, "a6": {"fd00:10:244:1::16"}, "a64": {"fd00:10:244:1::17", "10.244.1.17"}, "forged": {"127.0.0.1"}, "local": {"fe80::1"},
	} {
		p := s.pod(t, name, node, ips...)
		if uids[name] == "" {
			uids[name] = p.UID
		}
		t.Cleanup(func() {
			_ = s.client.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
		})
	}
	for name, row := range map[string]struct {
		families  []corev1.IPFamily
		endpoints []string
	}{
		"s4": {[]corev1.IPFamily{v4}, []string{"p4 10.244.1.4"}}, "s6": {[]corev1.IPFamily{v6}, []string{"p6 fd00:10:244:1::6"}},
		"s46":   {[]corev1.IPFamily{v4, v6}, []string{"p46 10.244.1.5", "p46 fd00:10:244:1::5"}},
		"s64":   {[]corev1.IPFamily{v6, v4}, []string{"p64 10.244.1.7", "p64 fd00:10:244:1::7"}},
		"s4and": {[]corev1.IPFamily{v4, v6}, []string{"p6 fd00:10:244:1::6"}},
		"ready": {[]corev1.IPFamily{v4}, []string{"-p46 10.244.1.5", "p4 10.244.1.4"}},
		"none":  {[]corev1.IPFamily{v4}, nil}, "waiting": {[]corev1.IPFamily{v4}, []string{"-p4 10.244.1.4"}},
		"nopod": {[]corev1.IPFamily{v4}, []string{"none 10.244.1.4"}}, "another": {[]corev1.IPFamily{v4}, []string{"replaced 10.244.1.8"}},
		"stolen": {[]corev1.IPFamily{v4}, []string{"p4 10.244.1.99"}}, "gone": {[]corev1.IPFamily{v4}, []string{"nobody 10.244.1.4"}},
	} {
		s.service(t, name, row.families, uids, row.endpoints...)
		t.Cleanup(func() {
			_ = s.client.CoreV1().Services("default").Delete(context.Background(), name, metav1.DeleteOptions{})
			_ = s.client.DiscoveryV1().EndpointSlices("default").DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
		})
	}
	// What was made last reaches the server's cache last.
	s.service(t, "last", []corev1.IPFamily{v4}, uids, "p4 10.244.1.4")
	t.Cleanup(func() {
		_ = s.client.CoreV1().Services("default").Delete(context.Background(), "last", metav1.DeleteOptions{})
		_ = s.client.DiscoveryV1().EndpointSlices("default").DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=last"})
	})
	eventually.Is(t, 20*time.Second, "the Service's answer", func() string {
		return say(s.Server, "/api/v1/namespaces/default/services/last:80/proxy/")
	}, "p4 10.244.1.4 8080: GET / ")
}

func tryProxies(t *testing.T, s *withAgents, node string) {
	makeProxied(t, s, node)
	const none = `503 no endpoints available for service "%s"`
	rows := []struct{ path, want string }{
		{"services/s4:web/proxy/a/b?c=d", "p4 10.244.1.4 8080: GET /a/b?c=d "},
		{"services/s6:web/proxy/", "p6 fd00:10:244:1::6 8080: GET / "},
		{"services/s46:80/proxy/a/", "p46 10.244.1.5 8080: GET /a/ "},
		{"services/s64:80/proxy/", "p64 fd00:10:244:1::7 8080: GET / "},
		{"services/s4and:80/proxy/", "p6 fd00:10:244:1::6 8080: GET / "},
		{"services/ready:80/proxy/", "p4 10.244.1.4 8080: GET / "},
		{"services/http:s46:web/proxy/", "p46 10.244.1.5 8080: GET / "},
		{"services/https:s46:secure/proxy/", "p46 10.244.1.5 443: GET / "},
		{"services/https:s64:443/proxy/", "p64 fd00:10:244:1::7 443: GET / "},
		{"services/s4:closed/proxy/", "503 error trying to reach service: dial tcp 10.244.1.5:81: connect: connection refused"},
		{"services/s4:82/proxy/", `503 no service port 82 found for service "s4"`},
		{"services/s4:other/proxy/", fmt.Sprintf(none, "s4")},
		{"services/s4/proxy/", fmt.Sprintf(none, "s4")},
		{"services/none:80/proxy/", fmt.Sprintf(none, "none")},
		{"services/waiting:80/proxy/", fmt.Sprintf(none, "waiting")},
		{"services/nopod:80/proxy/", fmt.Sprintf(none, "nopod")},
		{"services/another:80/proxy/", fmt.Sprintf(none, "another")},
		{"services/stolen:80/proxy/", fmt.Sprintf(none, "stolen")},
		{"services/gone:80/proxy/", fmt.Sprintf(none, "gone")},
		{"services/absent:80/proxy/", `404 services "absent" not found`},
		{"services/ftp:s4:80/proxy/", `400 invalid service request "ftp:s4:80"`},
		{"pods/a4/proxy/a", "a4  8080: GET /a "}, // the agent chooses the address
		{"pods/a6/proxy/", "a6  8080: GET / "},
		{"pods/a6:9/proxy/", "a6  9: GET / "},
		{"pods/https:a64:secure/proxy/", "a64  443: GET / "},
		{"pods/a4:81/proxy/", "503 error trying to reach service: dial tcp 10.244.1.5:81: connect: connection refused"},
		{"pods/starting/proxy/", "503 pod starting has no address yet"},
		{"pods/forged/proxy/", "400 address not allowed"},
		{"pods/local/proxy/", "400 address not allowed"},
		{"pods/absent/proxy/", `404 pods "absent" not found`},
		{"pods/ftp:p4:80/proxy/", `400 invalid pod request "ftp:p4:80"`},
	}
	for _, row := range rows {
		if got := say(s.Server, "/api/v1/namespaces/default/"+row.path); got != row.want {
			t.Errorf("%s: got %q, want %q", row.path, got, row.want)
		}
	}
	tryMethods(t, s)
	tryUpgrade(t, s)
}

// tryMethods: each method and a body, and a path of nothing.
func tryMethods(t *testing.T, s *withAgents) {
	transport, err := restclient.TransportFor(s.admin)
	if err != nil {
		t.Fatal(err)
	}
	base := s.admin.Host + "/api/v1/namespaces/default/services/s46:80/proxy"
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		request, err := http.NewRequestWithContext(t.Context(), method, base+"/x", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if want := "p46 10.244.1.5 8080: " + method + " /x body"; string(text) != want {
			t.Errorf("%s: got %q, want %q", method, text, want)
		}
		if got := answer.Header.Get("Location"); got != "/api/v1/namespaces/default/services/s46:80/proxy/moved" {
			t.Errorf("%s: Location %q", method, got)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"?a=b", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusMovedPermanently || got != "/api/v1/namespaces/default/services/s46:80/proxy/?a=b" {
		t.Errorf("no path: %s to %q", answer.Status, got)
	}
}

// tryUpgrade: a connection that is upgraded, with and without TLS behind.
func tryUpgrade(t *testing.T, s *withAgents) {
	for path, want := range map[string]string{
		"services/s46:web/proxy/": "p46 10.244.1.5 8080 says hello\n", "services/https:s64:secure/proxy/": "p64 fd00:10:244:1::7 443 says hello\n",
		"pods/a6:web/proxy/": "a6  8080 says hello\n",
	} {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.admin.Host, "https://")) //nolint:gosec // our own
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, "GET /api/v1/namespaces/default/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", path, s.admin.BearerToken)
		reader := bufio.NewReader(conn)
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "hello\n")
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if got, _ := reader.ReadString('\n'); answer.StatusCode != http.StatusSwitchingProtocols || got != want {
			t.Errorf("%s: %s %q, want %q", path, answer.Status, got, want)
		}
	}
}

// TestProxyRights: the verbs of services/proxy are those of the method, as upstream's.
func TestProxyRights(t *testing.T) {
	s, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	for _, verb := range []string{"get", "create", "delete"} {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: verb}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"services/proxy"}, Verbs: []string{verb}}}}
		if _, err := c.RbacV1().Roles("default").Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: verb}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: verb}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: verb}}}
		if _, err := c.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ who, method, want string }{
		{"get", "GET", "404"},
		{"get", "HEAD", "404"},
		{"get", "POST", "403"},
		{"create", "POST", "404"},
		{"create", "GET", "403"},
		{"delete", "DELETE", "404"},
		{"delete", "PUT", "403"},
		{"nobody", "GET", "403"},
	} {
		ask := func() string {
			config := s.Identity(&user.DefaultInfo{Name: row.who, Groups: []string{user.AllAuthenticated}})
			transport, err := restclient.TransportFor(config)
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(t.Context(), row.method, config.Host+"/api/v1/namespaces/default/services/absent:80/proxy/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			return fmt.Sprint(answer.StatusCode)
		}
		eventually.Is(t, 20*time.Second, row.who+" "+row.method, ask, row.want) // roles reach the authorizer by themselves
	}
}

// TestProxyAddressChangesHands: an address goes from a Pod that has ended to another one, in whatever
// namespace, and a Pod's status may claim any: a connection that was made for one is never another's.
func TestProxyAddressChangesHands(t *testing.T) {
	s := startWithAgents(t)
	node := s.node(t, "127.0.0.1").Name
	for i, ips := range [][]string{
		{"10.244.1.9"}, {"fd00:10:244:1::9"}, {"10.244.1.10", "fd00:10:244:1::10"}, {"fd00:10:244:1::11", "10.244.1.11"},
	} {
		for _, who := range []string{"before", "after"} {
			name := fmt.Sprint(who, "-", i)
			s.pod(t, name, node, ips...)
			if got, want := say(s.Server, "/api/v1/namespaces/default/pods/"+name+"/proxy/"), name+"  8080: GET / "; got != want {
				t.Errorf("%v: got %q, want %q", ips, got, want)
			}
		}
	}
}

// TestProxyAgentDoesNotAnswer: of an agent that takes connections and says nothing, or never ends what
// it says, nothing is left when the client has gone.
func TestProxyAgentDoesNotAnswer(t *testing.T) {
	s := startWithAgents(t)
	for name, agent := range map[string]func(http.ResponseWriter, *http.Request, chan<- struct{}){
		"silent": func(_ http.ResponseWriter, r *http.Request, asked chan<- struct{}) {
			asked <- struct{}{}
			<-r.Context().Done()
		},
		"endless": func(w http.ResponseWriter, _ *http.Request, _ chan<- struct{}) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			line := "X: " + strings.Repeat("x", 1000) + "\r\n"
			_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n")
			const most = 50_000 // far more than sockets hold
			n := 0
			for ; err == nil && n < most; n++ {
				_, err = io.WriteString(conn, line)
			}
			if n == most {
				t.Error("the server has taken 50 MB of headers")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked, gone := make(chan struct{}, 1), make(chan struct{})
			node := s.nodeWith(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(gone)
				agent(w, r, asked)
			}))
			s.pod(t, name, node.Name, "10.244.1.12")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.Generic.Handler.ServeHTTP(httptest.NewRecorder(), asAdmin(s.Server, "/api/v1/namespaces/default/pods/"+name+"/proxy/").WithContext(ctx))
			}()
			select {
			case <-asked:
			case <-gone:
			}
			cancel()
			<-done
			select {
			case <-gone:
			case <-time.After(20 * time.Second):
				t.Error("the connection to the agent is still there")
			}
		})
	}
}
