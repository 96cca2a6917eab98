package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
)

// approvalTimeout is how long one request may wait to be approved, be it by a person; then another
// one is made.
const approvalTimeout = 15 * time.Minute

// request has a certificate issued for a new key, stores both and uses them from now on.
func (h *held) request(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, approvalTimeout)
	defer cancel()
	client, err := h.identity.api()
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	h.mu.Lock()
	addrs := slices.Clone(h.addrs)
	h.mu.Unlock()
	template := &x509.CertificateRequest{Subject: h.subject()}
	if h.use == x509.ExtKeyUsageServerAuth {
		template.DNSNames, template.IPAddresses = []string{h.node}, ipsOf(addrs)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return fmt.Errorf("make a certificate request: %w", err)
	}
	issued, err := h.ask(ctx, client, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		return fmt.Errorf("ask %s for a certificate: %w", h.signer, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	data := slices.Concat(bytes.TrimSpace(issued), []byte("\n"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return fmt.Errorf("the certificate from %s is of no use: %w", h.signer, err)
	}
	if now := h.clock.Now(); now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("the certificate from %s expired on %s: compare the clocks of node and server", h.signer, pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	if err := h.store(data); err != nil {
		return err
	}
	h.set(&pair)
	klog.FromContext(ctx).Info("Certificate issued", "signer", h.signer, "expires", pair.Leaf.NotAfter, "addresses", addrs)
	return nil
}

// ask makes the request and waits until it is answered.
func (h *held) ask(ctx context.Context, client kubernetes.Interface, csr []byte) ([]byte, error) {
	requests := client.CertificatesV1().CertificateSigningRequests()
	made, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: csr, SignerName: h.signer, Usages: h.usages},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	selector := fields.OneTermEqualSelector("metadata.name", made.Name).String()
	lw := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = selector
		return requests.Watch(ctx, o)
	}}
	var issued []byte
	_, err = watchtools.Until(ctx, made.ResourceVersion, lw, func(e watch.Event) (bool, error) {
		now, ok := e.Object.(*certificatesv1.CertificateSigningRequest)
		if e.Type == watch.Deleted {
			return false, fmt.Errorf("request %s was deleted", made.Name)
		}
		if !ok {
			return false, nil
		}
		issued, err = verdict(now)
		return len(issued) > 0, err
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("request %s was not approved within %s; `kubectl certificate approve` does that", made.Name, approvalTimeout)
	}
	return issued, err
}

// verdict returns the certificate, nothing while it is not decided, or why there will be none.
func verdict(r *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	approved := false
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateDenied:
			return nil, fmt.Errorf("request %s is denied: %s: %s", r.Name, c.Reason, c.Message)
		case certificatesv1.CertificateFailed:
			return nil, fmt.Errorf("request %s failed: %s: %s", r.Name, c.Reason, c.Message)
		case certificatesv1.CertificateApproved:
			approved = true
		}
	}
	if !approved {
		return nil, nil
	}
	return r.Status.Certificate, nil
}
