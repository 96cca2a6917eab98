package tokens

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Review is the resource tokenreviews: it tells whose a token is, to those who were shown it.
type Review struct {
	Tokens authenticator.Token
	// Audiences are the API server's own, for who asks for none.
	Audiences authenticator.Audiences
}

var (
	_ rest.Creater              = Review{}
	_ rest.Scoper               = Review{}
	_ rest.SingularNameProvider = Review{}
)

// New returns an empty review.
func (Review) New() runtime.Object { return &authenticationv1.TokenReview{} }

// Destroy has nothing to release.
func (Review) Destroy() {}

// NamespaceScoped is false.
func (Review) NamespaceScoped() bool { return false }

// GetSingularName returns the kind in lower case.
func (Review) GetSingularName() string { return "tokenreview" }

// Create answers the review.
func (r Review) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	given, ok := obj.(*authenticationv1.TokenReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenReview: %#v", obj))
	}
	if given.Namespace != "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("namespace is not allowed on this type: %v", given.Namespace))
	}
	if given.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	if admit != nil {
		if err := admit(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	review := given.DeepCopy()
	review.Status = r.answer(ctx, &review.Spec)
	return review, nil
}

// Kind of what is reviewed, for clients that ask.
var _ rest.GroupVersionKindProvider = Review{}

// GroupVersionKind is TokenReview's, whatever the group it is served in.
func (Review) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenReview")
}

func (r Review) answer(ctx context.Context, spec *authenticationv1.TokenReviewSpec) (status authenticationv1.TokenReviewStatus) {
	wanted := authenticator.Audiences(spec.Audiences)
	if len(wanted) == 0 {
		wanted = r.Audiences
	}
	response, ok, err := r.Tokens.AuthenticateToken(authenticator.WithAudiences(ctx, wanted), spec.Token)
	if err != nil {
		status.Error = err.Error()
	}
	if !ok || err != nil || response == nil || response.User == nil {
		return status
	}
	status.Authenticated = true
	status.User = authenticationv1.UserInfo{
		Username: response.User.GetName(), UID: response.User.GetUID(), Groups: response.User.GetGroups(),
	}
	for key, values := range response.User.GetExtra() {
		if status.User.Extra == nil {
			status.User.Extra = map[string]authenticationv1.ExtraValue{}
		}
		status.User.Extra[key] = values
	}
	if len(spec.Audiences) > 0 {
		status.Audiences = wanted.Intersect(response.Audiences)
		if len(status.Audiences) == 0 {
			// A token that says nothing of audiences is for the API server itself.
			if status.Audiences = wanted.Intersect(r.Audiences); len(status.Audiences) == 0 || len(response.Audiences) > 0 {
				return authenticationv1.TokenReviewStatus{Error: "token audiences do not match"}
			}
		}
	}
	return status
}
