package access

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Reviews returns the storages behind `kubectl auth can-i`, `can-i --list` and `whoami`, by group
// (authorization.k8s.io and authentication.k8s.io) and plural name, version v1. They answer from
// what a and r say and store nothing.
func Reviews(a authorizer.UnconditionalAuthorizer, r authorizer.RuleResolver) map[string]map[string]rest.Storage {
	asker := reviewer{authorizer: a, rules: r}
	return map[string]map[string]rest.Storage{
		authorizationv1.GroupName: {
			"subjectaccessreviews": &review{
				singular: "subjectaccessreview", answer: asker.subjectAccess,
				new: func() runtime.Object { return &authorizationv1.SubjectAccessReview{} },
			},
			"selfsubjectaccessreviews": &review{
				singular: "selfsubjectaccessreview", answer: asker.selfSubjectAccess,
				new: func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} },
			},
			"localsubjectaccessreviews": &review{
				singular: "localsubjectaccessreview", answer: asker.localSubjectAccess, namespaced: true,
				new: func() runtime.Object { return &authorizationv1.LocalSubjectAccessReview{} },
			},
			"selfsubjectrulesreviews": &review{
				singular: "selfsubjectrulesreview", answer: asker.selfSubjectRules,
				new: func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} },
			},
		},
		authenticationv1.GroupName: {
			"selfsubjectreviews": &review{
				singular: "selfsubjectreview", answer: asker.selfSubject,
				new: func() runtime.Object { return &authenticationv1.SelfSubjectReview{} },
			},
		},
	}
}

// review is a resource that can only be created, and is an answer rather than an object.
type review struct {
	singular   string
	namespaced bool
	new        func() runtime.Object
	// answer checks obj and returns what to do once admission has agreed: to fill its status.
	answer func(ctx context.Context, obj runtime.Object) (func(), error)
}

var (
	_ rest.Creater              = (*review)(nil)
	_ rest.Scoper               = (*review)(nil)
	_ rest.SingularNameProvider = (*review)(nil)
)

// New returns an empty review.
func (r *review) New() runtime.Object { return r.new() }

// Destroy has nothing to release.
func (r *review) Destroy() {}

// NamespaceScoped says whether the review is asked within a namespace.
func (r *review) NamespaceScoped() bool { return r.namespaced }

// GetSingularName returns the kind in lower case.
func (r *review) GetSingularName() string { return r.singular }

// Create answers the review.
func (r *review) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	obj = obj.DeepCopyObject()
	fill, err := r.answer(ctx, obj)
	if err != nil {
		return nil, err
	}
	if admit != nil {
		if err := admit(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	fill()
	return obj, nil
}

type reviewer struct {
	authorizer authorizer.UnconditionalAuthorizer
	rules      authorizer.RuleResolver
}

func (r reviewer) subjectAccess(ctx context.Context, obj runtime.Object) (func(), error) {
	review, ok := obj.(*authorizationv1.SubjectAccessReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a SubjectAccessReview: %#v", obj))
	}
	if faults := validateSubjectAccessReview(review); len(faults) > 0 {
		return nil, apierrors.NewInvalid(reviewKind("SubjectAccessReview"), "", faults)
	}
	return func() {
		review.Status = r.decide(ctx, subjectOfReview(&review.Spec), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	}, nil
}

func (r reviewer) selfSubjectAccess(ctx context.Context, obj runtime.Object) (func(), error) {
	review, ok := obj.(*authorizationv1.SelfSubjectAccessReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a SelfSubjectAccessReview: %#v", obj))
	}
	if faults := validateSelfSubjectAccessReview(review); len(faults) > 0 {
		return nil, apierrors.NewInvalid(reviewKind("SelfSubjectAccessReview"), "", faults)
	}
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	return func() {
		review.Status = r.decide(ctx, u, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	}, nil
}

func (r reviewer) localSubjectAccess(ctx context.Context, obj runtime.Object) (func(), error) {
	review, ok := obj.(*authorizationv1.LocalSubjectAccessReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a LocalSubjectAccessReview: %#v", obj))
	}
	if faults := validateLocalSubjectAccessReview(review); len(faults) > 0 {
		return nil, apierrors.NewInvalid(reviewKind("LocalSubjectAccessReview"), "", faults)
	}
	namespace := genericapirequest.NamespaceValue(ctx)
	if namespace == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("namespace is required on this type: %v", namespace))
	}
	if namespace != review.Namespace {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	return func() {
		review.Status = r.decide(ctx, subjectOfReview(&review.Spec), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	}, nil
}

func (r reviewer) selfSubjectRules(ctx context.Context, obj runtime.Object) (func(), error) {
	review, ok := obj.(*authorizationv1.SelfSubjectRulesReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a SelfSubjectRulesReview: %#v", obj))
	}
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	if review.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	return func() { review.Status = r.list(ctx, u, review.Spec.Namespace) }, nil
}

func (r reviewer) selfSubject(ctx context.Context, obj runtime.Object) (func(), error) {
	review, ok := obj.(*authenticationv1.SelfSubjectReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a SelfSubjectReview: %#v", obj))
	}
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	return func() {
		info := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
		for key, values := range u.GetExtra() {
			if info.Extra == nil {
				info.Extra = map[string]authenticationv1.ExtraValue{}
			}
			info.Extra[key] = values
		}
		review.CreationTimestamp = metav1.Now()
		review.Status.UserInfo = info
	}, nil
}

func (r reviewer) decide(ctx context.Context, u user.Info, on *authorizationv1.ResourceAttributes, off *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	decision, reason, err := r.authorizer.Authorize(ctx, attributesOf(u, on, off))
	status := authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow,
		Denied:  decision == authorizer.DecisionDeny,
		Reason:  reason,
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func (r reviewer) list(ctx context.Context, u user.Info, namespace string) authorizationv1.SubjectRulesReviewStatus {
	on, off, incomplete, err := r.rules.RulesFor(ctx, u, namespace)
	status := authorizationv1.SubjectRulesReviewStatus{
		ResourceRules:    make([]authorizationv1.ResourceRule, 0, len(on)),
		NonResourceRules: make([]authorizationv1.NonResourceRule, 0, len(off)),
		Incomplete:       incomplete,
	}
	for _, rule := range on {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(),
			Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range off {
		status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs(),
		})
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func subjectOfReview(spec *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: spec.User, Groups: spec.Groups, UID: spec.UID}
	for key, values := range spec.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[key] = values
	}
	return u
}

// attributesOf leaves selectors out: no authorizer here narrows by them, and to ignore them only
// answers more strictly.
func attributesOf(u user.Info, on *authorizationv1.ResourceAttributes, off *authorizationv1.NonResourceAttributes) authorizer.Attributes {
	if on == nil {
		return authorizer.AttributesRecord{User: u, Verb: off.Verb, Path: off.Path}
	}
	return authorizer.AttributesRecord{
		User: u, ResourceRequest: true,
		Verb: on.Verb, Namespace: on.Namespace, APIGroup: on.Group, APIVersion: versionOf(on),
		Resource: on.Resource, Subresource: on.Subresource, Name: on.Name,
	}
}

func versionOf(on *authorizationv1.ResourceAttributes) string {
	if on.Version == "" {
		return "*"
	}
	return on.Version
}
