// Package certificates answers CertificateSigningRequests: it approves those of nodes, signs what is
// approved, and removes old ones.
//
// Approved by itself are a new node's request for its client certificate (whoever may create
// certificatesigningrequests/nodeclient), a node's own renewal (selfnodeclient), and a node's request
// for a serving certificate whose names and addresses are all its own by its Node. All else waits for
// a person.
//
// # Guarantees
//
// Signed is only what is approved and what its signer stands for. What nodes serve with is signed by an
// authority of its own, which clients of the API server do not believe: by what a node says, its
// addresses could be anybody's. One goroutine works; what it has written it does not write again.
package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	certificatesinformers "k8s.io/client-go/informers/certificates/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// How long requests are kept: those that got an answer, and those that nobody answered.
const (
	keepAnswered = time.Hour
	keepPending  = 24 * time.Hour
)

// Authority signs with its key and returns PEM.
type Authority interface {
	Sign(request *x509.CertificateRequest, usage x509.KeyUsage, uses []x509.ExtKeyUsage, life time.Duration) ([]byte, error)
}

// Deps are what the controller works with.
type Deps struct {
	Client   kubernetes.Interface
	Requests certificatesinformers.CertificateSigningRequestInformer
	Nodes    coreinformers.NodeInformer
	// Clients signs client certificates, Serving what nodes serve with.
	Clients, Serving Authority
	Clock            clock.PassiveClock // the system's if nil
}

// Controller is made by [New] and runs once.
type Controller struct {
	deps     Deps
	queue    *queue.Queue[string]
	listener listen.Listener
}

// New subscribes to requests and Nodes, which their owner starts.
func New(deps Deps) (*Controller, error) {
	if deps.Clock == nil {
		deps.Clock = clock.RealClock{}
	}
	c := &Controller{deps: deps}
	c.queue = queue.New(c.sync)
	c.listener.To(deps.Requests.Informer(), listen.Keys(c.queue.Add))
	c.listener.To(deps.Nodes.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: c.node,
		UpdateFunc: func(old, obj any) {
			if !sameAddresses(old.(*corev1.Node), obj.(*corev1.Node)) {
				c.node(obj)
			}
		},
	})
	return c, c.listener.Err()
}

// node has the requests looked at again that may have waited for its addresses.
func (c *Controller) node(obj any) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	requests, err := c.deps.Requests.Lister().List(labels.Everything())
	if err != nil {
		return // the lister reads memory
	}
	for _, r := range requests {
		approved, denied, failed := answered(r)
		if r.Spec.Username == nodeUser+node.Name && !approved && !denied && !failed {
			c.queue.Add(r.Name)
		}
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if c.listener.Synced(ctx) {
		c.queue.Run(ctx, 1)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, name string) error {
	r, err := c.deps.Requests.Lister().Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get CertificateSigningRequest %s: %w", name, err)
	}
	r = r.DeepCopy()
	gone, err := c.expire(ctx, r)
	if gone || err != nil {
		return err
	}
	approved, denied, failed := answered(r)
	switch {
	case denied || failed || len(r.Status.Certificate) > 0:
		return nil
	case approved:
		return c.sign(ctx, r)
	}
	return c.approve(ctx, r)
}

// expire removes what is old, and comes back when r will be.
func (c *Controller) expire(ctx context.Context, r *certificatesv1.CertificateSigningRequest) (gone bool, err error) {
	end := r.CreationTimestamp.Add(keepPending)
	for _, condition := range r.Status.Conditions {
		if at := condition.LastUpdateTime.Add(keepAnswered); at.Before(end) {
			end = at
		}
	}
	if wait := end.Sub(c.deps.Clock.Now()); wait > 0 {
		c.queue.AddAfter(r.Name, wait)
		return false, nil
	}
	err = c.deps.Client.CertificatesV1().CertificateSigningRequests().Delete(ctx, r.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &r.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return false, fmt.Errorf("delete CertificateSigningRequest %s: %w", r.Name, err)
	}
	return true, nil
}

// approve says yes to a node's request. It never says no: a person may still say yes.
func (c *Controller) approve(ctx context.Context, r *certificatesv1.CertificateSigningRequest) error {
	x, err := parse(r)
	if err != nil || fits(r, x) != nil {
		return nil //nolint:nilerr // for a person to look at
	}
	message := ""
	switch r.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		message, err = c.mayBecome(ctx, r, x)
	case certificatesv1.KubeletServingSignerName:
		message, err = c.mayServe(ctx, r, x)
	}
	if err != nil || message == "" {
		return err
	}
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: message,
	})
	_, err = c.deps.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, r.Name, r, metav1.UpdateOptions{})
	return c.written(r, "approve", err)
}

// mayBecome tells why whoever asks may have the client certificate of the node; "" if not.
func (c *Controller) mayBecome(ctx context.Context, r *certificatesv1.CertificateSigningRequest, x *x509.CertificateRequest) (string, error) {
	if asksForItself(r, x) {
		ok, err := c.allowed(ctx, r, "selfnodeclient")
		if ok || err != nil {
			return "Auto approving self kubelet client certificate after SubjectAccessReview.", err
		}
	}
	ok, err := c.allowed(ctx, r, "nodeclient")
	if !ok || err != nil {
		return "", err
	}
	return "Auto approving kubelet client certificate after SubjectAccessReview.", nil
}

func (c *Controller) allowed(ctx context.Context, r *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range r.Spec.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review, err := c.deps.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests", Subresource: subresource, Verb: "create",
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask whether %s may have a node's certificate: %w", r.Spec.Username, err)
	}
	return review.Status.Allowed, nil
}

// mayServe tells why a node may have a serving certificate; "" if not, or not yet.
func (c *Controller) mayServe(ctx context.Context, r *certificatesv1.CertificateSigningRequest, x *x509.CertificateRequest) (string, error) {
	if !asksForItself(r, x) {
		return "", nil
	}
	name := strings.TrimPrefix(x.Subject.CommonName, nodeUser)
	node, err := c.deps.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("get Node %s: %w", name, err)
	}
	if !serves(node, x) {
		return "", nil // its addresses may still be on the way: their event brings the request back
	}
	return "Auto approving kubelet serving certificate: all names and addresses are the Node's.", nil
}

func (c *Controller) sign(ctx context.Context, r *certificatesv1.CertificateSigningRequest) error {
	var authority Authority
	switch r.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName:
		authority = c.deps.Clients
	case certificatesv1.KubeletServingSignerName:
		authority = c.deps.Serving
	default:
		return nil // somebody else's signer
	}
	x, err := parse(r)
	if err == nil {
		err = fits(r, x)
	}
	if err != nil {
		return c.fail(ctx, r, err)
	}
	var life time.Duration
	if r.Spec.ExpirationSeconds != nil {
		life = time.Duration(*r.Spec.ExpirationSeconds) * time.Second
	}
	usage, uses := keyUsage(r)
	if r.Status.Certificate, err = authority.Sign(x, usage, uses, life); err != nil {
		return fmt.Errorf("sign %s: %w", r.Name, err)
	}
	_, err = c.deps.Client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, r, metav1.UpdateOptions{})
	return c.written(r, "sign", err)
}

// fail says that there will be no certificate: what was approved is not what the signer signs.
func (c *Controller) fail(ctx context.Context, r *certificatesv1.CertificateSigningRequest, fault error) error {
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure",
		Message: fault.Error(), LastUpdateTime: metav1.NewTime(c.deps.Clock.Now()), LastTransitionTime: metav1.NewTime(c.deps.Clock.Now()),
	})
	_, err := c.deps.Client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, r, metav1.UpdateOptions{})
	return c.written(r, "refuse", err)
}

// written tells what became of a write: what has changed or gone meanwhile comes back by its event.
func (c *Controller) written(r *certificatesv1.CertificateSigningRequest, what string, err error) error {
	if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("%s CertificateSigningRequest %s: %w", what, r.Name, err)
}

func sameAddress(text string, ip net.IP) bool {
	a, err := netip.ParseAddr(text)
	b, ok := netip.AddrFromSlice(ip)
	return err == nil && ok && a.Unmap() == b.Unmap()
}

func sameAddresses(a, b *corev1.Node) bool {
	if len(a.Status.Addresses) != len(b.Status.Addresses) {
		return false
	}
	for i := range a.Status.Addresses {
		if a.Status.Addresses[i] != b.Status.Addresses[i] {
			return false
		}
	}
	return true
}
