package tokens

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// How long tokens live, in seconds.
const (
	defaultLife = 60 * 60
	leastLife   = 10 * 60
	mostLife    = 1 << 32
	// longest is what is given at most, whatever is asked for.
	longest = 365 * 24 * time.Hour
)

// Requests is the subresource serviceaccounts/NAME/token: it issues tokens.
type Requests struct {
	Issuer    *Issuer
	Objects   *Objects
	Audiences authenticator.Audiences // for requests that name none
}

var (
	_ rest.NamedCreater             = Requests{}
	_ rest.GroupVersionKindProvider = Requests{}
	_ rest.Scoper                   = Requests{}
)

var requestKind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// New returns an empty request.
func (Requests) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy has nothing to release.
func (Requests) Destroy() {}

// NamespaceScoped is true: a service account is in a namespace.
func (Requests) NamespaceScoped() bool { return true }

// GroupVersionKind is TokenRequest's, which is not of the group it is served in.
func (Requests) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return requestKind }

// Create issues a token for the service account called name.
func (r Requests) Create(ctx context.Context, name string, obj runtime.Object, admit rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	given, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %#v", obj))
	}
	namespace := genericapirequest.NamespaceValue(ctx)
	request := given.DeepCopy()
	switch {
	case request.Name != "" && request.Name != name:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("must match the service account name: %v", name))
	case request.Namespace != "" && request.Namespace != namespace:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("must match the service account namespace: %v", namespace))
	}
	account, err := r.Objects.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err //nolint:wrapcheck // NotFound is the answer
	}
	request.Name, request.Namespace, request.CreationTimestamp = account.Name, account.Namespace, metav1.NewTime(r.Issuer.clock.Now())
	r.fill(&request.Spec)
	if errs := validate(&request.Spec); len(errs) > 0 {
		return nil, apierrors.NewInvalid(requestKind.GroupKind(), "", errs)
	}
	if admit != nil {
		if err := admit(ctx, request.DeepCopy()); err != nil {
			return nil, err
		}
	}
	bound, err := r.bind(ctx, account, request.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	if len(o.DryRun) > 0 {
		return request, nil
	}
	life := min(time.Duration(*request.Spec.ExpirationSeconds)*time.Second, longest)
	token, end, err := r.Issuer.issue(account, bound, request.Spec.Audiences, life)
	if err != nil {
		return nil, err
	}
	request.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(end)}
	return request, nil
}

func (r Requests) fill(spec *authenticationv1.TokenRequestSpec) {
	if spec.ExpirationSeconds == nil {
		seconds := int64(defaultLife)
		spec.ExpirationSeconds = &seconds
	}
	if len(spec.Audiences) == 0 {
		spec.Audiences = r.Audiences
	}
}

func validate(spec *authenticationv1.TokenRequestSpec) (errs field.ErrorList) {
	path := field.NewPath("spec", "expirationSeconds")
	switch seconds := *spec.ExpirationSeconds; {
	case seconds < leastLife:
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	case seconds > mostLife:
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// bind finds what a token is to depend on.
func (r Requests) bind(ctx context.Context, account *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) (b binding, err error) {
	if ref == nil {
		return binding{}, nil
	}
	core := r.Objects.client.CoreV1()
	var uid types.UID
	switch schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind) {
	case corev1.SchemeGroupVersion.WithKind("Pod"):
		pod, err := core.Pods(account.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return b, err //nolint:wrapcheck // NotFound is the answer
		}
		if pod.Spec.ServiceAccountName != account.Name {
			return b, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		uid, b.pod = pod.UID, &reference{pod.Name, pod.UID}
		if pod.Spec.NodeName != "" {
			b.node = &reference{Name: pod.Spec.NodeName}
			if node, err := r.Objects.nodes.Get(pod.Spec.NodeName); err == nil {
				b.node.UID = node.UID
			}
		}
	case corev1.SchemeGroupVersion.WithKind("Secret"):
		secret, err := core.Secrets(account.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return b, err //nolint:wrapcheck // NotFound is the answer
		}
		uid, b.secret = secret.UID, &reference{secret.Name, secret.UID}
	case corev1.SchemeGroupVersion.WithKind("Node"):
		node, err := core.Nodes().Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return b, err //nolint:wrapcheck // NotFound is the answer
		}
		uid, b.node = node.UID, &reference{node.Name, node.UID}
	default:
		return b, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).String()))
	}
	if ref.UID != "" && ref.UID != uid {
		return b, apierrors.NewConflict(schema.GroupResource{Resource: ref.Kind}, ref.Name, fmt.Errorf(
			"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return b, nil
}
