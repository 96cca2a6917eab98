package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/pki"
)

// FetchCA returns the certificate of the cluster's authority, PEM, known so far only by its
// [pki.Pin], and stores it in a file: the server sends it along with its own certificate, which must
// be signed by it. Nothing is said to a server that has not proved to hold the key of that one.
//
// It goes on trying while the server is not there. Errors: the server is of another cluster
// ([IsRejected]), the file cannot be written, or ctx has ended.
func FetchCA(ctx context.Context, server, pin, file string, c clock.Clock) ([]byte, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("the server's URL: %w", err)
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		ca, err := shownCA(ctx, address, u.Hostname(), pin)
		switch {
		case err == nil:
			if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
				err = replace(file, ca)
			}
			if err != nil {
				return nil, fmt.Errorf("store the cluster's CA: %w", err)
			}
			return ca, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("join the cluster: %w", context.Cause(ctx))
		case IsRejected(err):
			return nil, err
		}
		klog.FromContext(ctx).Error(err, "Not joined yet, trying again", "in", wait)
		if !pause(ctx, c, wait) {
			return nil, fmt.Errorf("join the cluster: %w", context.Cause(ctx))
		}
	}
}

// shownCA asks once.
func shownCA(ctx context.Context, address, host, pin string) ([]byte, error) {
	var found *x509.Certificate
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does, with the authority it finds
		VerifyConnection: func(s tls.ConnectionState) (err error) {
			found, err = pinned(s.PeerCertificates, host, pin)
			return err
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	switch {
	case found == nil && err == nil:
		err = errors.New("the handshake showed no certificate")
	case err == nil:
		_ = conn.Close()
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: found.Raw}), nil
	}
	return nil, fmt.Errorf("ask %s for the CA of the cluster: %w", address, err)
}

// pinned finds the authority in what a server shows, and checks that it is this authority's server.
func pinned(chain []*x509.Certificate, host, pin string) (*x509.Certificate, error) {
	for _, c := range chain[min(1, len(chain)):] {
		if pki.Pin(c) != pin {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			return nil, &rejectedError{fmt.Errorf("the server is not one of the cluster's: %w", err)}
		}
		return c, nil
	}
	return nil, &rejectedError{fmt.Errorf("the server does not belong to the cluster with the CA %s; compare --server and --ca-hash with what `duet token create` says", pin)}
}
