package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Pair is a certificate and its key, each as one PEM block.
type Pair struct {
	Certificate, Key []byte
}

// leaf is a certificate that the authority issues, and issues again before it expires.
type leaf struct {
	file    string // without .crt and .key
	subject pkix.Name
	usage   x509.ExtKeyUsage
	names   []string     // sorted
	addrs   []netip.Addr // sorted

	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// ensure reads or makes the key and the certificate, and renews the certificate if it must be.
// After an error the leaf is what it was before.
func (l *leaf) ensure(ca *Authority, now time.Time) error {
	crtFile, keyFile := l.file+".crt", l.file+".key"
	remedy := "remove " + crtFile + " and " + keyFile + " to have them issued again"
	key, err := readKey(keyFile, remedy)
	if err != nil {
		return err
	}
	certificate, err := readCertificate(crtFile, remedy)
	if err != nil {
		return err
	}
	if key == nil {
		// The certificate goes first: a crash here must not leave it beside the new key.
		if err := os.Remove(crtFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("pki: %w", err)
		}
		certificate = nil
		if key, err = makeKey(keyFile); err != nil {
			return err
		}
	}
	if certificate != nil && !matches(certificate, key) {
		return &corruptError{keyFile, "is not the key of " + crtFile, remedy}
	}
	if certificate != nil && certificate.CheckSignatureFrom(ca.certificate) != nil {
		return &corruptError{crtFile, "is not signed by " + filepath.Join(filepath.Dir(l.file), "ca.crt"), remedy}
	}
	if certificate == nil || !l.good(certificate, ca, now) {
		if certificate, err = l.issue(ca, key, now); err != nil {
			return err
		}
	}
	l.key, l.certificate = key, certificate
	return nil
}

// issue makes and stores a new certificate for key.
func (l *leaf) issue(ca *Authority, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		Subject:               l.subject,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(leafLife),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{l.usage},
		DNSNames:              l.names,
	}
	for _, addr := range l.addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	if end := ca.certificate.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
		if !now.Before(end) {
			return nil, fmt.Errorf("pki: issue %s.crt: the authority expired on %s", l.file, end.Format(time.RFC3339))
		}
	}
	certificate, err := ca.sign(template, key)
	if err != nil {
		return nil, fmt.Errorf("pki: issue %s.crt: %w", l.file, err)
	}
	return certificate, writeFile(l.file+".crt", encodeCertificate(certificate))
}

// due is when the certificate is to be renewed: when a third of its life is left. One that ends
// with the authority cannot get any longer.
func due(c *x509.Certificate, ca *Authority) time.Time {
	if c.NotAfter.Equal(ca.certificate.NotAfter) {
		return c.NotAfter
	}
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

// good tells whether c is valid for a while and says what it would say if it were issued now.
func (l *leaf) good(c *x509.Certificate, ca *Authority, now time.Time) bool {
	addrs := make([]netip.Addr, 0, len(c.IPAddresses))
	for _, ip := range c.IPAddresses {
		addr, _ := netip.AddrFromSlice(ip)
		addrs = append(addrs, addr.Unmap())
	}
	return now.After(c.NotBefore) && now.Before(due(c, ca)) &&
		c.Subject.String() == l.subject.String() &&
		slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{l.usage}) &&
		slices.Equal(slices.Sorted(slices.Values(c.DNSNames)), l.names) &&
		slices.Equal(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare), l.addrs)
}

func (l *leaf) pair() (Pair, error) {
	key, err := encodeKey(l.key)
	return Pair{Certificate: encodeCertificate(l.certificate), Key: key}, err
}
