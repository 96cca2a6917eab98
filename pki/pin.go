package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
)

// Pin returns what a certificate can be recognised by in a line that people copy: "sha256:" and the
// hash of its public key (SubjectPublicKeyInfo) in hexadecimal, as kubeadm's
// discovery-token-ca-cert-hash.
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PinOf is [Pin] of the first certificate in PEM. The error says that there is none.
func PinOf(data []byte) (string, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemCertificate {
		return "", errors.New("no certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	return Pin(c), nil
}
