package certificates

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/test/certs"
)

func asked(t *testing.T, signer string, template x509.CertificateRequest, usages ...certificatesv1.KeyUsage) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: certs.Request(t, certs.Key(t), &template), SignerName: signer, Usages: usages,
	}}
}

func TestFits(t *testing.T) {
	const (
		kubelet = certificatesv1.KubeAPIServerClientKubeletSignerName
		serving = certificatesv1.KubeletServingSignerName
		person  = certificatesv1.KubeAPIServerClientSignerName
		sign    = certificatesv1.UsageDigitalSignature
		client  = certificatesv1.UsageClientAuth
		server  = certificatesv1.UsageServerAuth
	)
	node := pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}
	v6 := []net.IP{net.ParseIP("2001:db8::1")}
	for name, test := range map[string]struct {
		r    *certificatesv1.CertificateSigningRequest
		want string
	}{
		"node's client":      {asked(t, kubelet, x509.CertificateRequest{Subject: node}, sign, client), ""},
		"with a name":        {asked(t, kubelet, x509.CertificateRequest{Subject: node, DNSNames: []string{"a"}}, sign, client), "no subject alternative names"},
		"of another group":   {asked(t, kubelet, x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes", "system:masters"}}}, sign, client), "organization"},
		"not a node":         {asked(t, kubelet, x509.CertificateRequest{Subject: pkix.Name{CommonName: "a", Organization: []string{"system:nodes"}}}, sign, client), "common name"},
		"for more":           {asked(t, kubelet, x509.CertificateRequest{Subject: node}, sign, client, server), "server auth"},
		"node's serving":     {asked(t, serving, x509.CertificateRequest{Subject: node, IPAddresses: v6}, sign, server), ""},
		"serving nothing":    {asked(t, serving, x509.CertificateRequest{Subject: node}, sign, server), "DNS names or IP addresses"},
		"mail":               {asked(t, serving, x509.CertificateRequest{Subject: node, IPAddresses: v6, EmailAddresses: []string{"a@b"}}, sign, server), "e-mail"},
		"serving as client":  {asked(t, serving, x509.CertificateRequest{Subject: node, IPAddresses: v6}, sign, client), "missing"},
		"a person":           {asked(t, person, x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, client), ""},
		"an authority":       {asked(t, person, x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, client, certificatesv1.UsageCertSign), "cert sign"},
		"somebody else's":    {asked(t, "example.com/x", x509.CertificateRequest{Subject: node}, client), "not known"},
		"without a purpose ": {asked(t, person, x509.CertificateRequest{Subject: node}, sign), "missing"},
	} {
		x, err := parse(test.r)
		if err == nil {
			err = fits(test.r, x)
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestServes(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::1"}, {Type: corev1.NodeHostName, Address: "host"},
	}}}
	for name, test := range map[string]struct {
		names []string
		ips   []string
		want  bool
	}{
		"its own":         {[]string{"a", "host"}, []string{"192.0.2.1", "2001:db8:0::1"}, true},
		"another address": {[]string{"a"}, []string{"192.0.2.1", "2001:db8::2"}, false},
		"another name":    {[]string{"b"}, nil, false},
		"the server's":    {[]string{"kubernetes.default.svc"}, []string{"192.0.2.1"}, false},
	} {
		x := &x509.CertificateRequest{DNSNames: test.names}
		for _, ip := range test.ips {
			x.IPAddresses = append(x.IPAddresses, net.ParseIP(ip))
		}
		if got := serves(node, x); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
