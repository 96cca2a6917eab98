package kinds

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// PrepareCertificateSigningRequest writes down who asks. Nothing of the spec changes afterwards:
// the answer goes through the approval and status subresources.
func PrepareCertificateSigningRequest(ctx context.Context, r, old *certificatesv1.CertificateSigningRequest) {
	if old != nil {
		r.Spec = old.Spec
		return
	}
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
	if u, ok := request.UserFrom(ctx); ok {
		r.Spec.Username, r.Spec.UID, r.Spec.Groups = u.GetName(), u.GetUID(), u.GetGroups()
		for key, values := range u.GetExtra() {
			if r.Spec.Extra == nil {
				r.Spec.Extra = map[string]certificatesv1.ExtraValue{}
			}
			r.Spec.Extra[key] = values
		}
	}
}

// PrepareApproval is for the approval subresource: it takes the conditions Approved and Denied from
// the request, with the time if they bring none, and leaves all else, Failed included.
func PrepareApproval(r, old *certificatesv1.CertificateSigningRequest) {
	answers := r.Status.Conditions
	r.Spec, r.Status = old.Spec, *old.Status.DeepCopy()
	r.Status.Conditions = slices.DeleteFunc(r.Status.Conditions, isAnswer)
	for _, c := range answers {
		if !isAnswer(c) {
			continue
		}
		now := metav1.Now()
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if c.LastTransitionTime.IsZero() {
			c.LastTransitionTime = now
		}
		r.Status.Conditions = append(r.Status.Conditions, c)
	}
}

// PrepareSigning is for the status subresource, which a signer writes: the answers stay as they were
// given.
func PrepareSigning(_ context.Context, r, old *certificatesv1.CertificateSigningRequest) {
	r.Status.Conditions = slices.DeleteFunc(r.Status.Conditions, isAnswer)
	for _, c := range old.Status.Conditions {
		if isAnswer(c) {
			r.Status.Conditions = append(r.Status.Conditions, c)
		}
	}
}

// ValidateSigning is for the status subresource: a certificate, once issued, stays.
func ValidateSigning(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := ValidateCertificateSigningRequest(r, old)
	if len(old.Status.Certificate) > 0 && !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		errs = append(errs, field.Forbidden(field.NewPath("status", "certificate"), "updates may not modify existing certificate content"))
	}
	return errs
}

// SameSigning tells whether a write of the status left what a signer says as it was.
func SameSigning(r, old *certificatesv1.CertificateSigningRequest) bool {
	return bytes.Equal(r.Status.Certificate, old.Status.Certificate) &&
		apiequality.Semantic.DeepEqual(r.Status.Conditions, old.Status.Conditions)
}

// RequestedGroups returns the organizations of the subject that a request is for; none if it does
// not parse, which ValidateCertificateSigningRequest reports.
func RequestedGroups(r *certificatesv1.CertificateSigningRequest) []string {
	block, _ := pem.Decode(r.Spec.Request)
	if block == nil {
		return nil
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil
	}
	return request.Subject.Organization
}

func isAnswer(c certificatesv1.CertificateSigningRequestCondition) bool {
	return c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied
}

// ValidateApproval is for the approval subresource: an answer stays, and is not both.
func ValidateApproval(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	path, errs := field.NewPath("status", "conditions"), ValidateCertificateSigningRequest(r, old)
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range r.Status.Conditions {
		has[c.Type] = true
	}
	if has[certificatesv1.CertificateApproved] && has[certificatesv1.CertificateDenied] {
		errs = append(errs, field.Invalid(path, certificatesv1.CertificateDenied,
			"Approved and Denied conditions are mutually exclusive"))
	}
	for _, c := range old.Status.Conditions {
		if isAnswer(c) && !has[c.Type] {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not remove a condition of type %q", c.Type)))
		}
	}
	return errs
}

// ValidateCertificateSigningRequest checks that a request parses and says what it is for. A
// certificate lasts ten minutes at least.
func ValidateCertificateSigningRequest(r, _ *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &r.Spec
	if err := parseRequest(s.Request); err != nil {
		errs = append(errs, field.Invalid(path.Child("request"), s.Request, err.Error()))
	}
	if len(s.Usages) == 0 {
		errs = append(errs, field.Required(path.Child("usages"), ""))
	}
	switch {
	case s.SignerName == "":
		errs = append(errs, field.Required(path.Child("signerName"), ""))
	case strings.Count(s.SignerName, "/") != 1:
		errs = append(errs, field.Invalid(path.Child("signerName"), s.SignerName,
			"must be a fully qualified domain and path of the form 'example.com/signer-name'"))
	}
	if s.ExpirationSeconds != nil && *s.ExpirationSeconds < 600 {
		errs = append(errs, field.Invalid(path.Child("expirationSeconds"), *s.ExpirationSeconds,
			"may not specify a duration less than 600 seconds (10 minutes)"))
	}
	for i, c := range r.Status.Conditions {
		at := field.NewPath("status", "conditions").Index(i)
		switch {
		case c.Type == "":
			errs = append(errs, field.Required(at.Child("type"), ""))
		case c.Type == certificatesv1.CertificateFailed:
		case c.Status != corev1.ConditionTrue:
			errs = append(errs, required(c.Status, at.Child("status"), corev1.ConditionTrue)...)
		}
	}
	return errs
}

func parseRequest(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	_, err := x509.ParseCertificateRequest(block.Bytes)
	return err
}
