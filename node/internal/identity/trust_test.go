package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/pki"
	"github.com/duetk8s/duet/test/certs"
)

// TestFetchCA: only a server that holds a key signed by the authority with that hash is believed.
func TestFetchCA(t *testing.T) {
	s := newServer(t)
	genuine, foreign := s.ca.Certificate, certs.New(t, "ca")
	pin := pki.Pin(genuine)
	leaf, key := s.TLS.Certificates[0].Certificate[0], s.TLS.Certificates[0].PrivateKey
	imposter := foreign.Sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, foreign.Key.Public())
	elsewhere := s.ca.Sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}, foreign.Key.Public())

	for _, tt := range []struct {
		name, pin, want string // want: "" it is the CA
		shown           tls.Certificate
	}{
		{"the cluster's", pin, "", tls.Certificate{Certificate: [][]byte{leaf, genuine.Raw}, PrivateKey: key}},
		{"of another cluster", pki.Pin(foreign.Certificate), "does not belong to the cluster with the CA sha256:", tls.Certificate{Certificate: [][]byte{leaf, genuine.Raw}, PrivateKey: key}},
		{"without its authority", pin, "does not belong to the cluster", tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}},
		{"an imposter that shows our authority", pin, "is not one of the cluster's", tls.Certificate{Certificate: [][]byte{imposter.Raw, genuine.Raw}, PrivateKey: foreign.Key}},
		{"the cluster's, at another address", pin, "is not one of the cluster's", tls.Certificate{Certificate: [][]byte{elsewhere.Raw, genuine.Raw}, PrivateKey: foreign.Key}},
		{"the authority itself is no server", pin, "does not belong to the cluster", tls.Certificate{Certificate: [][]byte{genuine.Raw}, PrivateKey: s.ca.Key}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{tt.shown}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_ = c.(*tls.Conn).Handshake()
					c.Close()
				}
			}()
			file := filepath.Join(t.TempDir(), "pki", "ca.crt")
			got, err := FetchCA(t.Context(), "https://"+l.Addr().String(), tt.pin, file, clock.RealClock{})
			stored, _ := os.ReadFile(file)
			if tt.want == "" {
				if err != nil || !bytes.Equal(got, s.ca.PEM()) || !bytes.Equal(stored, got) {
					t.Errorf("%v, got\n%s", err, got)
				}
				return
			}
			if !IsRejected(err) || !strings.Contains(err.Error(), tt.want) || stored != nil {
				t.Errorf("%v, want %s; stored %q", err, tt.want, stored)
			}
		})
	}
}
