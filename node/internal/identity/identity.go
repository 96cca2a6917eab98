package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Config says who the node is and whom it trusts.
type Config struct {
	Name   string // of the node
	Server string // URL of the API server
	CA     []byte // of the cluster, PEM
	// Token is the bootstrap token, "id.secret". It is needed only while there is no client
	// certificate that is still valid.
	Token string
	// Dir is for the certificates.
	Dir string
	// Clock is the system's if nil.
	Clock clock.Clock
}

// Identity is a node's certificates.
type Identity struct {
	config          Config
	roots           *x509.CertPool
	dialer          *connrotation.Dialer
	client, serving *held
	// connect makes a client for the API; tests have one without a server.
	connect func(*rest.Config) (kubernetes.Interface, error)
}

const (
	clientFile  = "kubelet-client-current.pem"
	servingFile = "kubelet-server-current.pem"
	dialTimeout = 30 * time.Second
	keepAlive   = 30 * time.Second
)

// New reads what is stored. The error says that the CA is none or that the directory or a file in it
// cannot be read; a certificate that is damaged, expired or somebody else's is not used and no error.
func New(c Config) (*Identity, error) {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	i := &Identity{config: c, roots: x509.NewCertPool(), connect: func(c *rest.Config) (kubernetes.Interface, error) {
		return kubernetes.NewForConfig(c)
	}}
	if !i.roots.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("the CA of the cluster holds no certificate")
	}
	i.dialer = connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the node's certificates: %w", err)
	}
	i.client = &held{
		file: filepath.Join(c.Dir, clientFile), signer: certificatesv1.KubeAPIServerClientKubeletSignerName,
		usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		use:    x509.ExtKeyUsageClientAuth, node: c.Name, clock: c.Clock, news: make(chan struct{}), changed: i.dialer.CloseAll,
		identity: i,
	}
	i.serving = &held{
		file: filepath.Join(c.Dir, servingFile), signer: certificatesv1.KubeletServingSignerName,
		usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
		use:    x509.ExtKeyUsageServerAuth, node: c.Name, clock: c.Clock, news: make(chan struct{}), identity: i,
	}
	if err := i.client.load(i.roots); err != nil {
		return nil, err
	}
	if i.client.current() == nil {
		return i, nil // and what the node serves with is of another cluster, too
	}
	// Its authority is known to the API server alone.
	return i, i.serving.load(nil)
}

// Bootstrap returns when there is a client certificate: at once if one is stored, and else when the
// server has issued one for the bootstrap token. It goes on trying while the server is not there or
// the request waits for approval. Errors: there is no token, the server does not know it
// ([IsRejected]) or is not the one of this CA, or ctx has ended.
func (i *Identity) Bootstrap(ctx context.Context) error {
	if i.client.valid() {
		return nil
	}
	if i.config.Token == "" {
		return fmt.Errorf("no valid client certificate in %s, and no bootstrap token to ask for one; make one on the server with `duet token create`", i.config.Dir)
	}
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := i.client.request(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("join the cluster: %w", context.Cause(ctx))
		case apierrors.IsUnauthorized(err):
			id, _, _ := strings.Cut(i.config.Token, ".")
			return &rejectedError{fmt.Errorf("the server %s does not accept the bootstrap token %q (expired, or of another cluster); make one with `duet token create`: %w", i.config.Server, id, err)}
		case strangeServer(err):
			return &rejectedError{fmt.Errorf("%s is not a server of this cluster's CA: %w", i.config.Server, err)}
		}
		klog.FromContext(ctx).Error(err, "Not joined yet, trying again", "in", wait)
		if !pause(ctx, i.config.Clock, wait) {
			return fmt.Errorf("join the cluster: %w", context.Cause(ctx))
		}
	}
}

// rejectedError: trying again does not help.
type rejectedError struct{ error }

func (e *rejectedError) Unwrap() error { return e.error }

// IsRejected tells whether an error of Bootstrap means that the token or the CA is wrong.
func IsRejected(err error) bool {
	var r *rejectedError
	return errors.As(err, &r)
}

func strangeServer(err error) bool {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var other *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &other)
}

// Client configures clients that show the node's certificate, always the present one.
func (i *Identity) Client() *rest.Config {
	return &rest.Config{Host: i.config.Server, Transport: i.transport(func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c := i.client.current(); c != nil {
			return c, nil
		}
		return &tls.Certificate{}, nil // nobody
	}, i.dialer.DialContext)}
}

// bootstrap configures clients that show the bootstrap token instead. Their connections are never
// used for anything else.
func (i *Identity) bootstrap() *rest.Config {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &rest.Config{Host: i.config.Server, BearerToken: i.config.Token, Transport: i.transport(nil, dialer.DialContext)}
}

func (i *Identity) transport(certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error), dial utilnet.DialFunc) http.RoundTripper {
	return utilnet.SetTransportDefaults(&http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dial,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: i.roots, GetClientCertificate: certificate,
		},
		ForceAttemptHTTP2: true,
	})
}

// Reconnect closes the connections of all clients that [Identity.Client] has configured; what was
// under way fails, and what comes next makes new ones.
func (i *Identity) Reconnect() { i.dialer.CloseAll() }

// SetAddresses says which addresses the serving certificate is for, and has one asked for if the
// present one is for others. The Node in the API should have them by then: the server issues a
// certificate only for addresses that it knows to be the node's.
func (i *Identity) SetAddresses(addrs []netip.Addr) {
	sorted := slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
	i.serving.want(sorted)
}

// Certificate is for tls.Config.GetCertificate. Before there is one it waits, as long as the
// handshake's context allows.
func (i *Identity) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for {
		c, news := i.serving.watch()
		if c != nil {
			return c, nil
		}
		select {
		case <-news:
		case <-hello.Context().Done():
			return nil, errors.New("the node has no serving certificate yet")
		}
	}
}

// Run replaces the certificates in time until ctx ends. What fails is logged and tried again.
func (i *Identity) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { i.client.run(ctx) })
	i.serving.run(ctx)
	return nil
}

// api is whom a certificate is asked from, as who: the node, or while it is nobody the one with the token.
func (i *Identity) api() (kubernetes.Interface, error) {
	c := i.Client()
	if !i.client.valid() {
		if i.config.Token == "" {
			return nil, fmt.Errorf("the client certificate in %s has expired, and there is no bootstrap token to ask for another one", i.config.Dir)
		}
		c = i.bootstrap()
	}
	return i.connect(c)
}

// pause waits and tells whether it may go on.
func pause(ctx context.Context, c clock.Clock, d time.Duration) bool {
	timer := c.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}
