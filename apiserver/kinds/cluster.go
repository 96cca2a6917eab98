package kinds

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
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
func PrepareApproval(_ context.Context, r, old *certificatesv1.CertificateSigningRequest) {
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

// ValidateLease checks the figures of a Lease.
func ValidateLease(l, _ *coordinationv1.Lease) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &l.Spec
	if s.LeaseDurationSeconds != nil && *s.LeaseDurationSeconds <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *s.LeaseDurationSeconds, "must be greater than 0"))
	}
	return append(errs, optional(s.LeaseTransitions, path.Child("leaseTransitions"))...)
}

// ValidateRuntimeClass keeps the handler of a class.
func ValidateRuntimeClass(c, old *nodev1.RuntimeClass) field.ErrorList {
	errs := dnsLabel(c.Handler, field.NewPath("handler"))
	if old != nil {
		errs = append(errs, immutable(c.Handler, old.Handler, field.NewPath("handler"))...)
	}
	return errs
}

// ValidatePodDisruptionBudget allows one bound, as a number or a percentage.
func ValidatePodDisruptionBudget(p, _ *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
	path, s := field.NewPath("spec"), &p.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, s, "minAvailable and maxUnavailable cannot be both set"))
	}
	errs = append(errs, share(s.MinAvailable, path.Child("minAvailable"), true)...)
	errs = append(errs, share(s.MaxUnavailable, path.Child("maxUnavailable"), true)...)
	errs = append(errs, labelSelector(s.Selector, path.Child("selector"))...)
	if s.UnhealthyPodEvictionPolicy != nil {
		errs = append(errs, oneOf(*s.UnhealthyPodEvictionPolicy, path.Child("unhealthyPodEvictionPolicy"),
			policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

// Priorities of users end where those of the system begin.
const maxUserPriority = 1_000_000_000

// systemPriorities are the classes whose names begin with "system-".
var systemPriorities = map[string]int32{
	"system-cluster-critical": 2_000_000_000,
	"system-node-critical":    2_000_001_000,
}

// ValidatePriorityClass keeps names and values of the system apart from those of users. Value and
// policy never change.
func ValidatePriorityClass(c, old *schedulingv1.PriorityClass) (errs field.ErrorList) {
	system, known := systemPriorities[c.Name]
	switch {
	case strings.HasPrefix(c.Name, "system-") && (!known || c.Value != system || c.GlobalDefault):
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
			"priority class names with 'system-' prefix are reserved for system use only"))
	case !known && c.Value > maxUserPriority:
		errs = append(errs, field.Forbidden(field.NewPath("value"),
			"maximum allowed value of a user defined priority is 1000000000"))
	}
	if c.PreemptionPolicy != nil {
		errs = append(errs, required(*c.PreemptionPolicy, field.NewPath("preemptionPolicy"),
			corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	if old != nil {
		const text = "may not be changed in an update."
		errs = append(errs, forbidChange(c.Value, old.Value, field.NewPath("value"), text)...)
		errs = append(errs, immutable(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	}
	return errs
}
