package assemble

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/test/certs"
	"github.com/duetk8s/duet/test/eventually"
)

// TestJoin goes the way of a new node: bootstrap token, client certificate, Node, serving certificate.
func TestJoin(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir, ready := t.TempDir(), make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Server(ctx, ServerConfig{
			Name: "test", DataDir: dir, NodePorts: "30000-32767",
			ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
			Listeners: []net.Listener{listener}, Advertise: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ready: func() { close(ready) },
		})
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	admin := clientset.NewForConfigOrDie(config)
	eventually.True(t, 30*time.Second, "service account and CA in every namespace", func() bool {
		for _, ns := range []string{"default", "kube-system"} {
			if _, err := admin.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{}); err != nil {
				return false
			}
			if _, err := admin.CoreV1().ConfigMaps(ns).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{}); err != nil {
				return false
			}
		}
		return true
	})
	_, err = admin.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	joining := rest.AnonymousClientConfig(config)
	joining.BearerToken = "abcdef.0123456789abcdef"
	client := &x509.CertificateRequest{}
	tls := request(t, clientset.NewForConfigOrDie(joining), certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.UsageClientAuth, client, nil)

	own := rest.AnonymousClientConfig(config)
	own.CertData, own.KeyData = tls.CertData, tls.KeyData
	node := clientset.NewForConfigOrDie(own)
	_, err = node.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker0"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, 30*time.Second, "no taint once it is ready", func() bool {
		n, err := node.CoreV1().Nodes().Get(ctx, "worker0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(n.Status.Conditions) == 0 {
			if len(n.Spec.Taints) != 1 {
				t.Error("taints of a new Node:", n.Spec.Taints)
			}
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
			_, _ = node.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
			return false
		}
		return len(n.Spec.Taints) == 0
	})
	request(t, node, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.UsageClientAuth, client, nil) // renewal
	serving := &x509.CertificateRequest{DNSNames: []string{"worker0"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")}}
	served := request(t, node, certificatesv1.KubeletServingSignerName, certificatesv1.UsageServerAuth, serving, func() {
		eventually.True(t, 30*time.Second, "addresses", func() bool {
			n, err := node.CoreV1().Nodes().Get(ctx, "worker0", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::7"}}
			_, err = node.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
			return err == nil
		})
	})
	for file, want := range map[string]bool{"ca.crt": false, "nodes-ca.crt": true} {
		if err := believed(t, filepath.Join(dir, "pki", file), served.CertData); (err == nil) != want {
			t.Errorf("what a node serves with, for those who know %s: %v", file, err)
		}
	}
}

// believed tells whether who knows the authority in a file believes a certificate of a server.
func believed(t *testing.T, authority string, certificate []byte) error {
	t.Helper()
	roots := x509.NewCertPool()
	data, err := os.ReadFile(authority)
	if err != nil || !roots.AppendCertsFromPEM(data) {
		t.Fatalf("%s: %v", authority, err)
	}
	block, _ := pem.Decode(certificate)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Verify(x509.VerifyOptions{Roots: roots})
	return err
}

// request asks for a certificate, does what has to happen meanwhile, and waits for the answer.
func request(t *testing.T, c clientset.Interface, signer string, usage certificatesv1.KeyUsage, template *x509.CertificateRequest, meanwhile func()) rest.TLSClientConfig {
	t.Helper()
	key := certs.Key(t)
	template.Subject = pkix.Name{CommonName: "system:node:worker0", Organization: []string{"system:nodes"}}
	made, err := c.CertificatesV1().CertificateSigningRequests().Create(t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: certs.Request(t, key, template), SignerName: signer,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, usage},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile()
	}
	eventually.True(t, 30*time.Second, signer, func() bool {
		made, err = c.CertificatesV1().CertificateSigningRequests().Get(t.Context(), made.Name, metav1.GetOptions{})
		return err == nil && len(made.Status.Certificate) > 0
	})
	block, _ := pem.Decode(made.Status.Certificate)
	issued, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(issued.DNSNames, template.DNSNames) || len(issued.IPAddresses) != len(template.IPAddresses) || issued.Subject.String() != template.Subject.String() {
		t.Errorf("issued %+v", issued)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return rest.TLSClientConfig{CertData: made.Status.Certificate, KeyData: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})}
}
