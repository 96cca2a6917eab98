package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"path/filepath"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// backdate lets a machine whose clock is a little behind take a new certificate.
	backdate = 5 * time.Minute
)

// authority signs the certificates of one cluster.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// ensureAuthority reads DIR/ca.crt and DIR/ca.key, or makes both if neither certificate is there.
func ensureAuthority(dir string, now time.Time) (*authority, error) {
	crtFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	remedy := "restore it from a backup, or remove " + dir + " to start with a new authority (every kubeconfig of the cluster changes)"
	key, err := readKey(keyFile, remedy)
	if err != nil {
		return nil, err
	}
	certificate, err := readCertificate(crtFile, remedy)
	if err != nil {
		return nil, err
	}
	if certificate == nil {
		return makeAuthority(crtFile, keyFile, key, now)
	}
	ca := &authority{certificate, key}
	switch {
	case key == nil:
		return nil, &corruptError{keyFile, "is missing", remedy}
	case !matches(certificate, key):
		return nil, &corruptError{keyFile, "is not the key of " + crtFile, remedy}
	case !certificate.IsCA:
		return nil, &corruptError{crtFile, "is not the certificate of an authority", remedy}
	case now.After(certificate.NotAfter):
		return nil, &corruptError{crtFile, "expired on " + certificate.NotAfter.Format(time.RFC3339), remedy}
	case now.Before(certificate.NotBefore):
		return nil, &corruptError{
			crtFile, "is valid from " + certificate.NotBefore.Format(time.RFC3339),
			"set the clock of this machine, which says " + now.UTC().Format(time.RFC3339),
		}
	}
	return ca, nil
}

// makeAuthority makes a certificate for key, or for a new key if it is nil: a key without a
// certificate is what a crash between the two leaves.
func makeAuthority(crtFile, keyFile string, key *ecdsa.PrivateKey, now time.Time) (*authority, error) {
	if key == nil {
		var err error
		if key, err = makeKey(keyFile); err != nil {
			return nil, err
		}
	}
	ca := &authority{key: key}
	ca.certificate = &x509.Certificate{
		Subject:               pkix.Name{CommonName: "duet-ca"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	certificate, err := ca.sign(ca.certificate, key)
	if err != nil {
		return nil, fmt.Errorf("pki: make %s: %w", crtFile, err)
	}
	ca.certificate = certificate
	return ca, writeFile(crtFile, encodeCertificate(certificate))
}

func (ca *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
