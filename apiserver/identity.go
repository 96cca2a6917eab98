package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/apiserver/access"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/newpod"
	"github.com/duetk8s/duet/apiserver/nodeauth"
	"github.com/duetk8s/duet/apiserver/tokens"
)

// identities is who clients are and what tells it.
type identities struct {
	// tokens are those that clients were given, unlike those of this process's own parts.
	tokens authenticator.Token
	// nodes is which Pods are whose node's.
	nodes *nodeauth.Graph
	// issuer of service accounts' tokens, and what these depend on.
	issuer  *tokens.Issuer
	objects *tokens.Objects
}

// audiences are what a token must be for, to be good here.
var audiences = authenticator.Audiences{tokens.IssuerName}

// connect makes the server's client of itself, and the informers that run on it.
func (s *Server) connect() error {
	s.self = s.loopback.config(&user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}})
	client, err := clientset.NewForConfig(s.self)
	if err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	s.client = client
	s.informers = informers.NewSharedInformerFactory(client, 0)
	s.policy = informers.NewSharedInformerFactory(client, 0)
	return nil
}

// identify prepares to tell who a client is.
func (s *Server) identify(cfg Config) error {
	if cfg.TokenKey == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return fmt.Errorf("apiserver: %w", err)
		}
		cfg.TokenKey = key
	}
	issuer, err := tokens.NewIssuer(cfg.TokenKey, clock.RealClock{})
	if err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	objects := tokens.NewObjects(s.client, s.informers)
	graph, err := nodeauth.NewGraph(s.informers.Core().V1().Pods(), s.client)
	if err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	s.identities = identities{
		nodes: graph, issuer: issuer, objects: objects,
		tokens: tokenunion.New(
			tokens.Accounts{Issuer: issuer, Objects: objects, Audiences: audiences},
			tokens.Bootstrap{Secrets: s.client.CoreV1(), Clock: clock.RealClock{}},
		),
	}
	return nil
}

// authenticator knows the users of client certificates and tokens; everybody else is anonymous.
func (s *Server) authenticator(cfg Config) authenticator.Request {
	given := bearertoken.New(tokenunion.New(s.loopback, s.identities.tokens))
	certificates := newVerified(x509.NewDynamic(cfg.ClientCA.VerifyOptions, x509.CommonNameUserConversion))
	known := group.NewAuthenticatedGroupAdder(union.New(certificates, given))
	return union.NewFailOnError(known, anonymous.NewAuthenticator(nil))
}

// authorizer asks about a node what its Pods need, and then, as about everybody, its roles.
func (s *Server) authorizer() authorizer.Authorizer {
	nodes := &nodeauth.Authorizer{Rules: access.NodeRules(), Graph: s.identities.nodes}
	return access.WithMasters(authorizer.AuthorizerFunc(func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		decision, why, fault := nodes.Authorize(ctx, a)
		if decision == authorizer.DecisionAllow {
			return decision, why, nil
		}
		byRole, reason, err := s.index.Authorize(ctx, a)
		if reason == "" {
			reason = why
		}
		if err == nil && byRole != authorizer.DecisionAllow {
			err = fault
		}
		return byRole, reason, err
	}))
}

// identityPaths adds what issues tokens and what is asked about them.
func (s *Server) identityPaths(e endpoints) {
	who := s.identities
	e.add("authentication.k8s.io", "v1", "tokenreviews", tokens.Review{Tokens: who.tokens, Audiences: audiences})
	e.add("", "v1", "serviceaccounts/token", tokens.Requests{Issuer: who.issuer, Objects: who.objects, Audiences: audiences})
}

// mountIssuer serves what others need to verify tokens without asking here.
func (s *Server) mountIssuer(address string) error {
	configuration, keys, err := s.identities.issuer.Discovery("https://" + address + keysPath)
	if err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	s.Generic.Handler.NonGoRestfulMux.Handle("/.well-known/openid-configuration", configuration)
	s.Generic.Handler.NonGoRestfulMux.Handle(keysPath, keys)
	return nil
}

const keysPath = "/openid/v1/jwks"

// seedPriorities makes the PriorityClasses that every cluster has.
func (s *Server) seedPriorities(ctx context.Context) error {
	classes := s.client.SchedulingV1().PriorityClasses()
	for _, want := range kinds.SystemPriorities() {
		_, err := classes.Get(ctx, want.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = classes.Create(ctx, want, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) { // another server was faster
			return fmt.Errorf("PriorityClass %s: %w", want.Name, err)
		}
	}
	return nil
}

// podAdmission is what new Pods and Nodes get; see package newpod.
func (s *Server) podAdmission() []admission.Interface {
	return []admission.Interface{
		named(newpod.ServiceAccount{Find: s.identities.objects.Account}, "ServiceAccount"),
		named(newpod.Tolerations{}, "DefaultTolerationSeconds"),
		named(newpod.Priority{
			Classes: s.informers.Scheduling().V1().PriorityClasses().Lister(),
			Get: func(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
				return s.client.SchedulingV1().PriorityClasses().Get(ctx, name, metav1.GetOptions{})
			},
		}, "Priority"),
		named(newpod.NewNodes{}, "TaintNodesByCondition"),
	}
}
