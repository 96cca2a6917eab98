package pki

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// Serving hands out the API server's certificate and tells its listeners when it is renewed. It
// is what SecureServingInfo.Cert of k8s.io/apiserver takes; servers of our own take
// [Serving.TLSConfig].
type Serving struct {
	mu        sync.Mutex
	pair      Pair
	parsed    *tls.Certificate
	listeners []dynamiccertificates.Listener
}

var _ dynamiccertificates.CertKeyContentProvider = (*Serving)(nil)

// Name says what the certificate is for, in the API server's log.
func (s *Serving) Name() string { return "serving-cert" }

// CurrentCertKeyContent returns the certificate and its key as PEM.
func (s *Serving) CurrentCertKeyContent() (certificate, key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pair.Certificate, s.pair.Key
}

// AddListener has listener told of each renewal.
func (s *Serving) AddListener(listener dynamiccertificates.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, listener)
}

// GetCertificate fits the field of [tls.Config].
func (s *Serving) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parsed, nil
}

// TLSConfig serves HTTP/2 and 1.1 over TLS 1.2 or later with the current certificate.
func (s *Serving) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: s.GetCertificate}
}

func (s *Serving) set(pair Pair) error {
	parsed, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return fmt.Errorf("pki: serving certificate: %w", err)
	}
	s.mu.Lock()
	changed := !bytes.Equal(pair.Certificate, s.pair.Certificate)
	s.pair, s.parsed = pair, &parsed
	listeners := s.listeners
	s.mu.Unlock()
	if changed {
		for _, listener := range listeners {
			listener.Enqueue()
		}
	}
	return nil
}
