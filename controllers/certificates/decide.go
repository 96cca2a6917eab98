package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	nodeUser  = "system:node:"
	nodeGroup = "system:nodes"
)

// parse reads what a certificate is asked for.
func parse(r *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(r.Spec.Request)
	if block == nil {
		return nil, errors.New("the request is not PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the request: %w", err)
	}
	return request, nil
}

// fits tells what is wrong with asking r's signer for x; nil if it signs such requests.
func fits(r *certificatesv1.CertificateSigningRequest, x *x509.CertificateRequest) error {
	switch r.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientSignerName:
		return usages(r, certificatesv1.UsageClientAuth)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		if len(x.DNSNames)+len(x.IPAddresses)+len(x.EmailAddresses)+len(x.URIs) > 0 {
			return errors.New("a client certificate of a node has no subject alternative names")
		}
		if err := nodeSubject(x); err != nil {
			return err
		}
		return usages(r, certificatesv1.UsageClientAuth)
	case certificatesv1.KubeletServingSignerName:
		if len(x.DNSNames)+len(x.IPAddresses) == 0 {
			return errors.New("a serving certificate has DNS names or IP addresses")
		}
		if len(x.EmailAddresses)+len(x.URIs) > 0 {
			return errors.New("a serving certificate of a node has neither e-mail addresses nor URIs")
		}
		if err := nodeSubject(x); err != nil {
			return err
		}
		return usages(r, certificatesv1.UsageServerAuth)
	}
	return fmt.Errorf("signer %s is not known", r.Spec.SignerName)
}

func nodeSubject(x *x509.CertificateRequest) error {
	if !slices.Equal(x.Subject.Organization, []string{nodeGroup}) {
		return fmt.Errorf("organization is %q, not %q", x.Subject.Organization, nodeGroup)
	}
	if name, ok := strings.CutPrefix(x.Subject.CommonName, nodeUser); !ok || name == "" {
		return fmt.Errorf("common name is %q, not %qNAME", x.Subject.CommonName, nodeUser)
	}
	return nil
}

// usages checks that the purpose is asked for, and nothing beyond what goes with it.
func usages(r *certificatesv1.CertificateSigningRequest, purpose certificatesv1.KeyUsage) error {
	if !slices.Contains(r.Spec.Usages, purpose) {
		return fmt.Errorf("usage %q is missing", purpose)
	}
	for _, u := range r.Spec.Usages {
		switch u {
		case purpose, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		default:
			return fmt.Errorf("usage %q is not for this signer", u)
		}
	}
	return nil
}

// keyUsage is what r's usages say in a certificate.
func keyUsage(r *certificatesv1.CertificateSigningRequest) (usage x509.KeyUsage, uses []x509.ExtKeyUsage) {
	for _, u := range r.Spec.Usages {
		switch u {
		case certificatesv1.UsageDigitalSignature:
			usage |= x509.KeyUsageDigitalSignature
		case certificatesv1.UsageKeyEncipherment:
			usage |= x509.KeyUsageKeyEncipherment
		case certificatesv1.UsageClientAuth:
			uses = append(uses, x509.ExtKeyUsageClientAuth)
		case certificatesv1.UsageServerAuth:
			uses = append(uses, x509.ExtKeyUsageServerAuth)
		}
	}
	return usage, uses
}

// asksForItself tells whether the node that a certificate would be for is the one that asks.
func asksForItself(r *certificatesv1.CertificateSigningRequest, x *x509.CertificateRequest) bool {
	return r.Spec.Username == x.Subject.CommonName && slices.Contains(r.Spec.Groups, nodeGroup)
}

// serves tells whether all names and addresses in x are node's own.
func serves(node *corev1.Node, x *x509.CertificateRequest) bool {
	own := []string{node.Name}
	for _, a := range node.Status.Addresses {
		own = append(own, a.Address)
	}
	for _, name := range x.DNSNames {
		if !slices.Contains(own, name) {
			return false
		}
	}
	for _, ip := range x.IPAddresses {
		if !slices.ContainsFunc(own, func(a string) bool { return sameAddress(a, ip) }) {
			return false
		}
	}
	return true
}

// answered tells whether somebody has said yes or no, and whether there is nothing left to do.
func answered(r *certificatesv1.CertificateSigningRequest) (approved, denied, failed bool) {
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied:
			denied = true
		case certificatesv1.CertificateFailed:
			failed = true
		}
	}
	return approved, denied, failed
}
