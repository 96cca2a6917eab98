package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"k8s.io/utils/clock"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// backdate lets a machine whose clock is a little behind take a new certificate.
	backdate = 5 * time.Minute
)

// Authority signs certificates for whoever believes it.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	clock       clock.PassiveClock
}

// Certificate is that of the authority, as PEM.
func (ca *Authority) Certificate() []byte { return encodeCertificate(ca.certificate) }

// ensureAuthority reads FILE.crt and FILE.key, or makes both, for an authority of that name, if the
// certificate is not there. A remedy says what else there is to do than to restore a file.
func ensureAuthority(file, name, remedy string, clock clock.PassiveClock) (*Authority, error) {
	crtFile, keyFile, now := file+".crt", file+".key", clock.Now()
	remedy = "restore it from a backup, or " + remedy
	key, err := readKey(keyFile, remedy)
	if err != nil {
		return nil, err
	}
	certificate, err := readCertificate(crtFile, remedy)
	if err != nil {
		return nil, err
	}
	if certificate == nil {
		return makeAuthority(file, name, key, clock)
	}
	ca := &Authority{certificate, key, clock}
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
func makeAuthority(file, name string, key *ecdsa.PrivateKey, clock clock.PassiveClock) (*Authority, error) {
	if key == nil {
		var err error
		if key, err = makeKey(file + ".key"); err != nil {
			return nil, err
		}
	}
	ca, now := &Authority{key: key, clock: clock}, clock.Now()
	ca.certificate = &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	certificate, err := ca.sign(ca.certificate, key)
	if err != nil {
		return nil, fmt.Errorf("pki: make %s.crt: %w", file, err)
	}
	ca.certificate = certificate
	return ca, writeFile(file+".crt", encodeCertificate(certificate))
}

func (ca *Authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
