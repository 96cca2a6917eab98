package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

const (
	pemKey         = "EC PRIVATE KEY"
	pemCertificate = "CERTIFICATE"
)

// readKey returns nil without an error if there is no such file.
func readKey(file, remedy string) (*ecdsa.PrivateKey, error) {
	data, err := readFile(file)
	if data == nil || err != nil {
		return nil, err
	}
	der, ok := onlyBlock(data, pemKey)
	if !ok {
		return nil, &corruptError{file, "is not one PEM block of an EC private key", remedy}
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, &corruptError{file, "is damaged (" + err.Error() + ")", remedy}
	}
	return key, nil
}

// makeKey creates and stores a key.
func makeKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: make %s: %w", file, err)
	}
	data, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("pki: make %s: %w", file, err)
	}
	return key, writeFile(file, data)
}

// readCertificate returns nil without an error if there is no such file.
func readCertificate(file, remedy string) (*x509.Certificate, error) {
	data, err := readFile(file)
	if data == nil || err != nil {
		return nil, err
	}
	der, ok := onlyBlock(data, pemCertificate)
	if !ok {
		return nil, &corruptError{file, "is not one PEM block of a certificate", remedy}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &corruptError{file, "is damaged (" + err.Error() + ")", remedy}
	}
	return certificate, nil
}

func onlyBlock(data []byte, kind string) ([]byte, bool) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != kind || len(rest) > 0 {
		return nil, false
	}
	return block.Bytes, true
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func encodeCertificate(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: certificate.Raw})
}

// matches tells whether certificate is about key.
func matches(certificate *x509.Certificate, key *ecdsa.PrivateKey) bool {
	public, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	return ok && key.PublicKey.Equal(public)
}
