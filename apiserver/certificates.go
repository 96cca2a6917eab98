package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic/registry"

	"github.com/duetk8s/duet/apiserver/kinds"
)

// approval serves certificatesigningrequests/NAME/approval: it writes the conditions Approved and
// Denied and nothing else.
type approval struct{ status }

func newApproval(of *registry.Store) approval {
	s := approvalStrategy{statusStrategy{of.UpdateStrategy.(strategy)}}
	store := *of
	store.UpdateStrategy, store.ResetFieldsStrategy = s, s
	return approval{status{store: &store, reset: s}}
}

type approvalStrategy struct{ statusStrategy }

func (s approvalStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	s.keepAllButStatus(obj, old)
	kinds.PrepareApproval(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest))
}

func (approvalStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessorUpdate(metaOf(obj), metaOf(old), field.NewPath("metadata"))
	return append(errs, kinds.ValidateApproval(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest))...)
}

// signerRights admits answers to certificate requests. Who may write a status or an approval may
// not therefore do so for every signer: that is a right of its own, verb approve or sign on the
// resource signers by the signer's name, or by "domain/*". And nobody gets a certificate of the
// group that RBAC does not bind by asking for one.
type signerRights struct{ authorizer authorizer.Authorizer }

var _ admission.ValidationInterface = signerRights{}

func (signerRights) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

func (s signerRights) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	request, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil
	}
	old, _ := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	switch {
	case a.GetOperation() == admission.Create && request.Spec.SignerName == certificatesv1.KubeAPIServerClientSignerName:
		if slices.Contains(kinds.RequestedGroups(request), "system:masters") {
			return admission.NewForbidden(a, fmt.Errorf("use of %s signer with system:masters group is not allowed", request.Spec.SignerName))
		}
	case a.GetSubresource() == "approval":
		return s.check(ctx, a, "approve", request.Spec.SignerName)
	case a.GetSubresource() == "status" && old != nil && !kinds.SameSigning(request, old):
		return s.check(ctx, a, "sign", request.Spec.SignerName)
	}
	return nil
}

func (s signerRights) check(ctx context.Context, a admission.Attributes, verb, signer string) error {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := s.authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: a.GetUserInfo(), Verb: verb, APIGroup: certificatesv1.GroupName, APIVersion: "*",
			Resource: "signers", Name: name, ResourceRequest: true,
		})
		if decision == authorizer.DecisionAllow {
			return nil
		}
		if err != nil {
			return admission.NewForbidden(a, err)
		}
	}
	return admission.NewForbidden(a, fmt.Errorf("user not permitted to %s requests with signerName %q", verb, signer))
}
