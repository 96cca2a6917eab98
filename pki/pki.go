package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Config says what the certificates are for.
type Config struct {
	// SANs are names and addresses of the API server, beyond the names that it has in every
	// cluster and the loopback addresses: its own, and the first of each Service range.
	SANs []string
	// Kubeconfig, if not nil, is a file for the administrator that is kept up to date.
	Kubeconfig *KubeconfigFile
	// Clock is the system's if nil.
	Clock clock.Clock
}

// KubeconfigFile is a file that holds one cluster.
type KubeconfigFile struct {
	// Path of the file, which is replaced whole.
	Path string
	// Cluster is the name without "duet-", Server the URL of its API server.
	Cluster, Server string
}

// everyCluster are the names by which Pods and programs on the same machine reach an API server.
var everyCluster = []string{
	"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	"localhost", "127.0.0.1", "::1",
}

// NodeClientName is the user as which the API server calls the agents of nodes: their logs, exec
// and the like. It has no group: its rights are those of role system:kubelet-api-admin.
const NodeClientName = "kube-apiserver-kubelet-client"

// Bundle is the key material of one cluster.
type Bundle struct {
	config         Config
	cluster, nodes *Authority
	serviceAccount *ecdsa.PrivateKey
	serving        *Serving

	mu                         sync.Mutex
	servingLeaf, admin, agents *leaf
	agentClient                *tls.Certificate // of agents
}

// Ensure reads what is in dir and makes what is missing. It renews the certificates of which
// less than a third of their life is left, or whose names have changed.
//
// Errors: a file that is damaged or does not belong to the others ([IsCorrupt]; nothing is
// overwritten), a name or address in config.SANs that is none, and whatever the disk says.
func Ensure(dir string, config Config) (*Bundle, error) {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	names, addrs, err := splitSANs(append(slices.Clone(everyCluster), config.SANs...))
	if err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	b := &Bundle{config: config, serving: &Serving{}}
	if err := b.ensureAuthorities(dir); err != nil {
		return nil, err
	}
	saFile := filepath.Join(dir, "service-account.key")
	if b.serviceAccount, err = readKey(saFile, "restore it from a backup, or remove it to have a new one made (service account tokens issued so far become invalid)"); err != nil {
		return nil, err
	}
	if b.serviceAccount == nil {
		if b.serviceAccount, err = makeKey(saFile); err != nil {
			return nil, err
		}
	}
	b.servingLeaf = &leaf{
		file: filepath.Join(dir, "apiserver"), subject: pkix.Name{CommonName: "kube-apiserver"},
		usage: x509.ExtKeyUsageServerAuth, names: names, addrs: addrs,
	}
	b.admin = &leaf{
		file: filepath.Join(dir, "admin"), usage: x509.ExtKeyUsageClientAuth,
		subject: pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"system:masters"}},
	}
	b.agents = &leaf{
		file: filepath.Join(dir, "apiserver-kubelet-client"), usage: x509.ExtKeyUsageClientAuth,
		subject: pkix.Name{CommonName: NodeClientName},
	}
	return b, b.renew()
}

func (b *Bundle) ensureAuthorities(dir string) (err error) {
	b.cluster, err = ensureAuthority(filepath.Join(dir, "ca"), "duet-ca",
		"remove "+dir+" to start with a new authority (every kubeconfig of the cluster changes)", b.config.Clock)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "nodes-ca")
	b.nodes, err = ensureAuthority(file, "duet-nodes-ca",
		"remove "+file+".crt and "+file+".key to start with a new one (agents have to be started again without their serving certificates)", b.config.Clock)
	return err
}

// Cluster is the authority that everybody in the cluster believes: it signs what the API server serves
// with, and clients.
func (b *Bundle) Cluster() *Authority { return b.cluster }

// Nodes is the authority that only the API server believes, when it calls the agents of nodes: it signs
// what they serve with. A node says itself which addresses it has; were it the authority of the cluster,
// one that is taken over could say the API server's and pass for it.
func (b *Bundle) Nodes() *Authority { return b.nodes }

// CA is the certificate of the cluster's authority, as PEM.
func (b *Bundle) CA() []byte { return b.cluster.Certificate() }

// ServiceAccountKey signs service account tokens (ES256).
func (b *Bundle) ServiceAccountKey() *ecdsa.PrivateKey { return b.serviceAccount }

// Serving is the API server's certificate, always the current one.
func (b *Bundle) Serving() *Serving { return b.serving }

// Admin is the client certificate of kubernetes-admin in system:masters, as it is now.
func (b *Bundle) Admin() (Pair, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admin.pair()
}

// NodeClient is the certificate that the API server shows to the agents of nodes, always the current
// one. It fits GetClientCertificate of [tls.Config].
func (b *Bundle) NodeClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.agentClient, nil
}

// Run renews the certificates, in the files, in [Bundle.Serving] and in the kubeconfig, when a
// third of their life is left, until ctx ends. What fails is logged and tried again.
func (b *Bundle) Run(ctx context.Context) error {
	// Timers stand still while a laptop sleeps, so the clock is asked at least every hour.
	const atMost, atLeast = time.Hour, time.Minute
	for {
		wait := min(max(b.due().Sub(b.config.Clock.Now()), atLeast), atMost)
		timer := b.config.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
		if b.config.Clock.Now().Before(b.due()) {
			continue
		}
		if err := b.renew(); err != nil {
			klog.FromContext(ctx).Error(err, "Certificates not renewed, trying again", "in", atLeast)
		}
	}
}

// due is when the first certificate is to be renewed.
func (b *Bundle) due() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := due(b.servingLeaf.certificate, b.cluster)
	for _, l := range []*leaf{b.admin, b.agents} {
		if next := due(l.certificate, b.cluster); next.Before(first) {
			first = next
		}
	}
	return first
}

// renew brings files, the serving certificate and the kubeconfig up to date.
func (b *Bundle) renew() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range []*leaf{b.servingLeaf, b.admin, b.agents} {
		if err := l.ensure(b.cluster, b.config.Clock.Now()); err != nil {
			return err
		}
	}
	serving, err := b.servingLeaf.pair()
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	// The authority comes along for machines that only know its [Pin] yet.
	serving.Certificate = append(serving.Certificate, b.CA()...)
	if err := b.serving.set(serving); err != nil {
		return err
	}
	if err := b.setNodeClient(); err != nil {
		return err
	}
	admin, err := b.admin.pair()
	if err != nil || b.config.Kubeconfig == nil {
		return err
	}
	k := b.config.Kubeconfig
	return WriteKubeconfig(k.Path, Kubeconfig(k.Cluster, k.Server, b.CA(), admin))
}

func (b *Bundle) setNodeClient() error {
	pair, err := b.agents.pair()
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	parsed, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return fmt.Errorf("pki: client certificate for nodes: %w", err)
	}
	b.agentClient = &parsed
	return nil
}

// splitSANs sorts names and addresses apart and drops repetitions.
func splitSANs(sans []string) (names []string, addrs []netip.Addr, err error) {
	for _, san := range sans {
		if addr, err := netip.ParseAddr(san); err == nil {
			addrs = append(addrs, addr.Unmap().WithZone(""))
			continue
		}
		if faults := validation.IsDNS1123Subdomain(strings.TrimPrefix(san, "*.")); len(faults) > 0 {
			return nil, nil, fmt.Errorf("pki: %q as a name of the API server: neither an address nor a DNS name", san)
		}
		names = append(names, san)
	}
	slices.Sort(names)
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(names), slices.Compact(addrs), nil
}
