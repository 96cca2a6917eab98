package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/certs"
	"github.com/duetk8s/duet/test/eventually"
)

// server is as much of an API server as a node needs to get its certificates.
type server struct {
	*httptest.Server
	t     *testing.T
	ca    *certs.Authority
	nodes *certs.Authority // of serving certificates; nodes do not know it
	clock clock.PassiveClock

	mu       sync.Mutex
	verdict  certificatesv1.RequestConditionType // "": none
	life     time.Duration
	requests []string // "WHO SIGNER SUBJECT NAMES"
	seen     []string // who asked for the version
	wake     chan struct{}
	open     map[string]*certificatesv1.CertificateSigningRequest
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		t: t, clock: clock.RealClock{}, verdict: certificatesv1.CertificateApproved, life: time.Hour, wake: make(chan struct{}),
		open: map[string]*certificatesv1.CertificateSigningRequest{},
	}
	s.ca, s.nodes = certs.New(t, "ca"), certs.New(t, "nodes-ca")
	own := s.ca.Issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pool := x509.NewCertPool()
	pool.AddCert(s.ca.Certificate)
	s.Server = httptest.NewUnstartedServer(s)
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: pool, Time: func() time.Time { return s.clock.Now() },
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who := ""
	switch {
	case len(r.TLS.PeerCertificates) > 0:
		who = r.TLS.PeerCertificates[0].Subject.CommonName
	case r.Header.Get("Authorization") == "Bearer abcdef.0123456789abcdef":
		who = "system:bootstrap:abcdef"
	}
	w.Header().Set("Content-Type", "application/json")
	if who == "" {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(metav1.Status{Status: "Failure", Reason: metav1.StatusReasonUnauthorized, Code: 401, Message: "Unauthorized"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.URL.Path == "/version":
		s.seen = append(s.seen, fmt.Sprint(who, " ", r.TLS.PeerCertificates[0].SerialNumber))
		fmt.Fprint(w, `{"major":"1"}`)
	case r.Method == http.MethodPost:
		var csr certificatesv1.CertificateSigningRequest
		_ = json.NewDecoder(r.Body).Decode(&csr)
		block, _ := pem.Decode(csr.Spec.Request)
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			s.t.Error(err)
		}
		s.requests = append(s.requests, fmt.Sprint(who, " ", csr.Spec.SignerName, " ", request.Subject, " ", request.DNSNames, request.IPAddresses))
		csr.Name, csr.ResourceVersion, csr.UID = fmt.Sprintf("csr-%d", len(s.requests)), "1", "uid"
		s.open[csr.Name] = &csr
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(csr)
	case r.URL.Query().Get("watch") != "":
		csr := s.open[strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")]
		for csr != nil && s.verdict == "" {
			wake := s.wake
			s.mu.Unlock()
			select {
			case <-wake:
			case <-r.Context().Done():
			}
			s.mu.Lock()
			if r.Context().Err() != nil {
				return
			}
		}
		s.answer(csr)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": csr})
		_ = http.NewResponseController(w).Flush()
		s.mu.Unlock()
		<-r.Context().Done()
		s.mu.Lock()
	default:
		http.NotFound(w, r)
	}
}

// answer issues what is asked for, or does not.
func (s *server) answer(csr *certificatesv1.CertificateSigningRequest) {
	csr.APIVersion, csr.Kind, csr.ResourceVersion = "certificates.k8s.io/v1", "CertificateSigningRequest", "2"
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: s.verdict, Status: "True", Reason: "Reason", Message: "message"}}
	if s.verdict != certificatesv1.CertificateApproved {
		return
	}
	block, _ := pem.Decode(csr.Spec.Request)
	request, _ := x509.ParseCertificateRequest(block.Bytes)
	use, ca := x509.ExtKeyUsageClientAuth, s.ca
	if csr.Spec.SignerName == certificatesv1.KubeletServingSignerName {
		use, ca = x509.ExtKeyUsageServerAuth, s.nodes
	}
	c := ca.Sign(&x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, ExtKeyUsage: []x509.ExtKeyUsage{use},
		NotBefore: s.clock.Now(), NotAfter: s.clock.Now().Add(s.life),
	}, request.PublicKey)
	csr.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func (s *server) set(v certificatesv1.RequestConditionType) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdict = v
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *server) requested() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.requests...)
}

const token = "abcdef.0123456789abcdef"

func (s *server) node(dir, token string) *Identity {
	s.t.Helper()
	return s.with(Config{Token: token, Dir: dir})
}

// with makes a node with the given configuration that speaks JSON, as the server does.
func (s *server) with(c Config) *Identity {
	s.t.Helper()
	if c.Name == "" {
		c.Name = "worker0"
	}
	if c.CA == nil {
		c.CA = s.ca.PEM()
	}
	c.Server = s.URL
	i, err := New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	i.connect = func(c *rest.Config) (kubernetes.Interface, error) {
		c.ContentType = "application/json"
		return kubernetes.NewForConfig(c)
	}
	return i
}

// ask has the node say who it is, and returns what the server saw.
func (s *server) ask(i *Identity) string {
	s.t.Helper()
	client, err := kubernetes.NewForConfig(i.Client())
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := client.Discovery().ServerVersion(); err != nil {
		return err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[len(s.seen)-1]
}

func TestBootstrap(t *testing.T) {
	s, dir := newServer(t), filepath.Join(t.TempDir(), "pki")
	i := s.node(dir, token)
	if err := i.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.ask(i); !strings.HasPrefix(got, "system:node:worker0 ") {
		t.Errorf("seen as %s", got)
	}
	want := "system:bootstrap:abcdef kubernetes.io/kube-apiserver-client-kubelet CN=system:node:worker0,O=system:nodes [] []"
	if got := s.requested(); len(got) != 1 || got[0] != want {
		t.Errorf("requested %q, want %q", got, want)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, clientFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	// The next start needs no token.
	again := s.node(dir, "")
	if err := again.Bootstrap(t.Context()); err != nil || s.ask(again) != s.ask(i) {
		t.Errorf("second start: %v", err)
	}
	// A node of another name cannot use it.
	other := s.with(Config{Name: "worker1", Dir: dir})
	if err := other.Bootstrap(t.Context()); err == nil || !strings.Contains(err.Error(), "no bootstrap token") {
		t.Errorf("another node's certificate: %v", err)
	}
}

func TestBootstrapRefused(t *testing.T) {
	s := newServer(t)
	stranger := newServer(t)
	for _, tt := range []struct {
		name, token, want string
		ca                []byte
		rejected          bool
	}{
		{"no token", "", "and no bootstrap token to ask for one; make one on the server with `duet token create`", s.ca.PEM(), false},
		{"bad token", "zzzzzz.0123456789abcdef", `does not accept the bootstrap token "zzzzzz" (expired, or of another cluster)`, s.ca.PEM(), true},
		{"another cluster's CA", token, "is not a server of this cluster's CA", stranger.ca.PEM(), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.with(Config{CA: tt.ca, Token: tt.token, Dir: t.TempDir()}).Bootstrap(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || IsRejected(err) != tt.rejected {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "0123456789abcdef") {
				t.Error("the error tells the secret")
			}
		})
	}
	if _, err := New(Config{Dir: t.TempDir()}); err == nil {
		t.Error("no CA is no error")
	}
}

// A request that waits for a person, a denial, a damaged file: the node goes on asking.
func TestBootstrapPatience(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, clientFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.set("")
	i, done := s.node(dir, token), make(chan error)
	go func() { done <- i.Bootstrap(t.Context()) }()
	eventually.True(t, 10*time.Second, "a request", func() bool { return len(s.requested()) == 1 })
	s.set(certificatesv1.CertificateDenied)
	eventually.True(t, 10*time.Second, "another request", func() bool { return len(s.requested()) == 2 })
	s.set(certificatesv1.CertificateApproved)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.set("")
	go func() { done <- s.node(t.TempDir(), token).Bootstrap(ctx) }()
	eventually.True(t, 10*time.Second, "a request", func() bool { return len(s.requested()) == 3 })
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "join the cluster: context canceled") {
		t.Errorf("after cancel: %v", err)
	}
}

func TestRotation(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	fake := testclock.NewFakeClock(time.Now())
	s.clock = fake
	i := s.with(Config{Token: token, Dir: dir, Clock: fake})
	s.life = 30 * time.Minute
	if err := i.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := s.ask(i)
	ctx := t.Context()
	stop := background.Run(t, nil, i.Run)

	// The serving certificate waits for the addresses, and a handshake for the certificate.
	type answer struct {
		c   *tls.Certificate
		err error
	}
	handshake := make(chan answer)
	go func() {
		conn, peer := net.Pipe()
		go func() {
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) //nolint:gosec // a pipe
		}()
		var a answer
		_ = tls.Server(peer, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			a.c, a.err = i.Certificate(h)
			return a.c, a.err
		}}).HandshakeContext(ctx)
		handshake <- a
	}()
	i.SetAddresses([]netip.Addr{netip.MustParseAddr("172.30.0.3"), netip.MustParseAddr("fd00:172:30::3")})
	if a := <-handshake; a.err != nil || fmt.Sprint(a.c.Leaf.IPAddresses) != "[172.30.0.3 fd00:172:30::3]" || a.c.Leaf.DNSNames[0] != "worker0" {
		t.Fatalf("%+v", a)
	}
	if got := s.requested(); len(got) != 2 || got[1] != "system:node:worker0 kubernetes.io/kubelet-serving CN=system:node:worker0,O=system:nodes [worker0] [172.30.0.3 fd00:172:30::3]" {
		t.Errorf("requested %q", got)
	}
	// The same addresses in another order are nothing new, others are.
	i.SetAddresses([]netip.Addr{netip.MustParseAddr("fd00:172:30::3"), netip.MustParseAddr("172.30.0.3")})
	i.SetAddresses([]netip.Addr{netip.MustParseAddr("172.30.0.9")})
	eventually.True(t, 10*time.Second, "a certificate for the new address", func() bool { return fmt.Sprint(i.serving.current().Leaf.IPAddresses) == "[172.30.0.9]" })
	if n := len(s.requested()); n != 3 {
		t.Errorf("%d requests", n)
	}

	// Both in time, with the node's own certificate, and the server sees the new one.
	client, serving := i.client.current(), i.serving.current()
	eventually.True(t, 10*time.Second, "timers", fake.HasWaiters)
	for range 26 {
		fake.Step(time.Minute)
		time.Sleep(5 * time.Millisecond)
	}
	eventually.True(t, 10*time.Second, "both renewed", func() bool {
		fake.Step(time.Second) // one that failed is tried again
		return i.client.current() != client && i.serving.current() != serving
	})
	eventually.True(t, 10*time.Second, "the new certificate", func() bool { got := s.ask(i); return got != first && strings.HasPrefix(got, "system:node:worker0 ") })
	for _, r := range s.requested()[3:] {
		if !strings.HasPrefix(r, "system:node:worker0 ") {
			t.Errorf("renewed as %s", r)
		}
	}
	// A third start reads both.
	again := s.with(Config{Dir: dir, Clock: fake})
	if again.client.current() == nil || again.serving.current() == nil {
		t.Error("not stored")
	}
	// A start in another cluster uses neither.
	if other := newServer(t).with(Config{Dir: dir, Clock: fake}); other.client.current() != nil || other.serving.current() != nil {
		t.Error("certificates of another cluster are used")
	}
	stop()
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) != 2 || len(hidden) != 0 {
		t.Errorf("in the directory: %v %v", left, hidden)
	}
}

// A node that was away until its certificate had expired comes back with its token, or says what to do.
func TestExpired(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	fake := testclock.NewFakeClock(time.Now())
	s.clock = fake
	start := func(token string) error {
		return s.with(Config{Token: token, Dir: dir, Clock: fake}).Bootstrap(t.Context())
	}
	if err := start(token); err != nil {
		t.Fatal(err)
	}
	fake.Step(2 * time.Hour)
	if err := start(""); err == nil || !strings.Contains(err.Error(), "no valid client certificate") {
		t.Errorf("without a token: %v", err)
	}
	if err := start(token); err != nil {
		t.Error(err)
	}
	if got := s.requested(); len(got) != 2 || !strings.HasPrefix(got[1], "system:bootstrap:abcdef ") {
		t.Errorf("requested %q", got)
	}
}
