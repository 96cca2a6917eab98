package etcd

import (
	"crypto/tls"
	"fmt"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// tls returns nil when no certificate is configured.
func (c DialConfig) tls() (*tls.Config, error) {
	if c.CAFile == "" && c.CertFile == "" && c.KeyFile == "" {
		return nil, nil
	}
	info := transport.TLSInfo{TrustedCAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}
	config, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd: client certificate: %w", err)
	}
	config.MinVersion = tls.VersionTLS12
	return config, nil
}
