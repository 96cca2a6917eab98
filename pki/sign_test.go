package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"testing"
	"time"

	"github.com/duetk8s/duet/test/certs"
)

// A node that is taken over may have a certificate for any address. Whoever believes the cluster's
// authority does not believe it.
func TestSign(t *testing.T) {
	b := ensure(t, t.TempDir(), at(0))
	block, _ := pem.Decode(certs.Request(t, certs.Key(t), &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:a"}, IPAddresses: []net.IP{net.ParseIP("10.96.0.1"), net.ParseIP("fd00:10:96::1")},
	}))
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name           string
		by             *Authority
		life, want     time.Duration
		cluster, nodes bool // who believes it
	}{
		{"cluster", b.Cluster(), 0, 365 * day, true, false},
		{"nodes", b.Nodes(), time.Hour, time.Hour, false, true},
		{"nodes, too long", b.Nodes(), 1000 * day, 365 * day, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := test.by.Sign(request, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, test.life)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(data)
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.NotAfter.Sub(start); got != test.want {
				t.Errorf("lives %v, want %v", got, test.want)
			}
			for _, at := range []string{"10.96.0.1", "fd00:10:96::1"} {
				for ca, want := range map[*Authority]bool{b.Cluster(): test.cluster, b.Nodes(): test.nodes} {
					roots := x509.NewCertPool()
					roots.AppendCertsFromPEM(ca.Certificate())
					if _, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: at, CurrentTime: start}); (err == nil) != want {
						t.Errorf("%s believed by those who know %s: %v", at, ca.certificate.Subject, err)
					}
				}
			}
		})
	}
	request.Signature[4]++
	if _, err := b.Nodes().Sign(request, 0, nil, 0); err == nil {
		t.Error("signed for a key that the asker has not shown to have")
	}
}
