package pki

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"
)

// Sign issues the certificate that request asks for: its subject, names, addresses and key, for the
// given uses. life 0 stands for a year, which is also the most; none outlives the authority.
//
// Whether the asker may have it is for the caller to know. Errors: the request is not signed with the
// key it is for, or the authority has expired.
func (ca *Authority) Sign(request *x509.CertificateRequest, usage x509.KeyUsage, uses []x509.ExtKeyUsage, life time.Duration) ([]byte, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("pki: certificate request: %w", err)
	}
	if life <= 0 || life > leafLife {
		life = leafLife
	}
	now := ca.clock.Now()
	end := ca.certificate.NotAfter
	if !now.Before(end) {
		return nil, fmt.Errorf("pki: the authority expired on %s", end.Format(time.RFC3339))
	}
	template := &x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
		EmailAddresses: request.EmailAddresses, URIs: request.URIs,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		BasicConstraintsValid: true, KeyUsage: usage, ExtKeyUsage: uses,
	}
	if template.NotAfter.After(end) {
		template.NotAfter = end
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, request.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: sign: %w", err)
	}
	return encodeCertificate(certificate), nil
}
