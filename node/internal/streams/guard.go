package streams

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// Answers of the API server count for so long.
const (
	tokenTTL = 2 * time.Minute
	allowTTL = 5 * time.Minute
	denyTTL  = 30 * time.Second
	// reviewTimeout bounds one question.
	reviewTimeout = 10 * time.Second
)

// Delegate returns the authenticator and the authorizer that believe the cluster's CA (PEM) and the
// API server.
func Delegate(client kubernetes.Interface, ca []byte) (authenticator.Request, authorizer.Authorizer, error) {
	content, err := dynamiccertificates.NewStaticCAContent("cluster", ca)
	if err != nil {
		return nil, nil, fmt.Errorf("read the CA of the cluster: %w", err)
	}
	once := &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 3}
	authn, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient: client.AuthenticationV1(), TokenAccessReviewTimeout: reviewTimeout,
		WebhookRetryBackoff: once, CacheTTL: tokenTTL, ClientCertificateCAContentProvider: content,
	}.New()
	if err != nil {
		return nil, nil, fmt.Errorf("make the authenticator: %w", err)
	}
	authz, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(), WebhookRetryBackoff: once,
		AllowCacheTTL: allowTTL, DenyCacheTTL: denyTTL,
	}.New()
	if err != nil {
		return nil, nil, fmt.Errorf("make the authorizer: %w", err)
	}
	return authn, authz, nil
}

// permission is what a caller needs on this node: a subresource of nodes, and a verb other than the
// one that the HTTP method stands for. nodes/proxy is enough for everything.
type permission struct {
	subresource, verb string
}

var verbs = map[string]string{
	http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create",
	http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
}

// guard lets through who may.
func (s *Server) guard(need permission, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := s.config.Authenticator.AuthenticateRequest(r)
		if err != nil || !ok {
			if err != nil {
				klog.FromContext(r.Context()).Error(err, "Caller of the node's API not authenticated", "path", r.URL.Path)
			}
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb := need.verb
		if verb == "" {
			verb = verbs[r.Method]
		}
		subresources := slices.Compact([]string{need.subresource, "proxy"})
		for _, sub := range subresources {
			allowed, err := s.allowed(r.Context(), who.User, verb, sub, r.URL.Path)
			if err != nil {
				klog.FromContext(r.Context()).Error(err, "Right to use the node's API unknown", "user", who.User.GetName(), "path", r.URL.Path)
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", who.User.GetName(), verb, sub), http.StatusInternalServerError)
				return
			}
			if allowed {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)\n", who.User.GetName(), verb, subresources), http.StatusForbidden)
	})
}

func (s *Server) allowed(ctx context.Context, who user.Info, verb, subresource, path string) (bool, error) {
	decision, _, err := s.config.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: who, Verb: verb, Namespace: "", APIGroup: "", APIVersion: "v1",
		Resource: "nodes", Subresource: subresource, Name: s.config.NodeName,
		ResourceRequest: true, Path: path,
	})
	if decision == authorizer.DecisionAllow {
		return true, nil
	}
	return false, err
}
